"""Writes an OCI image layout (image-spec image-layout.md): blobs named by their digest, and an index."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Layer", "LayoutWriter", "platform"]

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
PLATFORMS: Mapping[str, Mapping[str, str]] = {
    "armel": {"architecture": "arm", "variant": "v5"},
    "armhf": {"architecture": "arm", "variant": "v7"},
    "arm64": {"architecture": "arm64", "variant": "v8"},
    "i386": {"architecture": "386"},
    "ppc64el": {"architecture": "ppc64le"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer's tar and where it comes from. ``created``: seconds since the epoch. ``zstd``: not gzip."""

    tar: bytes
    comment: str
    created: int
    zstd: bool = False


def platform() -> Mapping[str, str]:
    """This machine in the words of the image-spec."""
    command = ["dpkg", "--print-architecture"]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return {"os": "linux", **PLATFORMS.get(name, {"architecture": name})}


class LayoutWriter:
    """An image layout in the making, in an empty directory of its own."""

    def __init__(self, directory: Path, *, compression: int = 6) -> None:
        """``compression``: the level of gzip, or zstd; 0 for layers as they are."""
        self._directory = directory
        self._compression = compression
        self._written: dict[int, Mapping[str, object]] = {}  # descriptors by the identity of the layer
        self._manifests: list[Mapping[str, object]] = []
        (directory / "blobs" / "sha256").mkdir(parents=True)

    def add_image(
        self,
        references: Sequence[str],
        layers: Sequence[Layer],
        config: Mapping[str, object],
        where: Mapping[str, str],
    ) -> str:
        """Adds an image under its full references; the digest of its manifest. A layer that several images share is
        written once when they are given the same object."""
        with ThreadPoolExecutor() as pool:  # packing takes most of the time
            descriptors = list(pool.map(self._layer, layers))
        document = {
            "created": _time(max(layer.created for layer in layers)),
            **where,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer.tar)}" for layer in layers]},
            "history": [{"created": _time(layer.created), "created_by": layer.comment} for layer in layers],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._add_json(CONFIG, document),
            "layers": descriptors,
        }
        descriptor = self._add_json(MANIFEST, manifest)
        for reference in references:
            annotations = {"org.opencontainers.image.ref.name": reference}
            self._manifests.append({**descriptor, "platform": where, "annotations": annotations})
        return str(descriptor["digest"])

    def finish(self) -> None:
        """Writes the index; without it the directory is no image layout."""
        (self._directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._manifests}
        (self._directory / "index.json").write_bytes(_json(index))

    def _layer(self, layer: Layer) -> Mapping[str, object]:
        if id(layer) not in self._written:
            self._written[id(layer)] = self._add(*_packed(layer, self._compression))
        return self._written[id(layer)]

    def _add_json(self, media_type: str, document: Mapping[str, object]) -> Mapping[str, object]:
        return self._add(media_type, _json(document))

    def _add(self, media_type: str, content: bytes) -> Mapping[str, object]:
        name = _sha256(content)
        (self._directory / "blobs" / "sha256" / name).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(content)}


def _packed(layer: Layer, level: int) -> tuple[str, bytes]:
    """Media type and content."""
    if not level:
        return LAYER, layer.tar
    if layer.zstd:
        import zstandard  # only here: the demo's images are made before anything is installed

        return f"{LAYER}+zstd", zstandard.compress(layer.tar, level)
    return f"{LAYER}+gzip", gzip.compress(layer.tar, compresslevel=level, mtime=0)


def _json(document: object) -> bytes:
    return json.dumps(document, indent=2, sort_keys=True).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
