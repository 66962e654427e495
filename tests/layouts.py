"""Small image layouts, made in the test: real tars, real digests, no tools."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

__all__ = ["Blob", "ImageParts", "LayoutBuilder", "layer_tar", "sha256"]

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
HERE = {"architecture": "amd64", "os": "linux"}
Document = dict[str, object]


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    """A plain tar of regular files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Content and its descriptor."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return sha256(self.data)

    @property
    def descriptor(self) -> Document:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True, kw_only=True)
class ImageParts:
    """An image in its parts."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        return (self.config, *self.layers)

    @staticmethod
    def make(
        layers: Sequence[bytes] = (layer_tar({"hello": b"world"}),),
        *,
        compression: str = "gzip",
        config: Mapping[str, object] | None = None,
        docker: bool = False,
        platform: Mapping[str, str] = HERE,
    ) -> ImageParts:
        """An image of these (uncompressed) layers; ``docker``: in schema 2's types."""
        kind = f"{DOCKER}image.rootfs.diff.tar" if docker else f"{OCI}layer.v1.tar"
        suffix = {"gzip": ".gzip" if docker else "+gzip", "zstd": "+zstd", "none": ""}[compression]
        blobs = tuple(Blob(data=compress(layer, compression), media_type=kind + suffix) for layer in layers)
        document: Document = {
            **platform,
            "config": {"Cmd": ["/hello"], "Env": ["PATH=/bin"], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        }
        image_config = Blob(
            data=json.dumps(document).encode(),
            media_type=f"{DOCKER}container.image.v1+json" if docker else f"{OCI}config.v1+json",
        )
        media_type = f"{DOCKER}distribution.manifest.v2+json" if docker else f"{OCI}manifest.v1+json"
        manifest: Document = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": image_config.descriptor,
            "layers": [blob.descriptor for blob in blobs],
        }
        return ImageParts(
            manifest=Blob(data=json.dumps(manifest).encode(), media_type=media_type), config=image_config, layers=blobs
        )


def compress(data: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(data, mtime=0)
    return zstandard.compress(data) if how == "zstd" else data


@dataclass
class LayoutBuilder:
    """An OCI image layout in a directory."""

    path: Path
    entries: list[Document] = field(default_factory=list)

    def blob(self, data: bytes) -> None:
        place = self.path / "blobs" / "sha256" / hashlib.sha256(data).hexdigest()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def image(self, name: str | None, parts: ImageParts) -> str:
        """Adds an image, under a name if there is one; the digest of its manifest."""
        for blob in (parts.manifest, *parts.blobs):
            self.blob(blob.data)
        self.name(name, parts.manifest)
        return parts.manifest.digest

    def index(self, name: str, images: Mapping[str, ImageParts]) -> Blob:
        """Adds an image for several platforms (``linux/arm64``)."""
        entries = []
        for place, parts in images.items():
            for blob in (parts.manifest, *parts.blobs):
                self.blob(blob.data)
            keys = dict(zip(("os", "architecture", "variant"), place.split("/"), strict=False))
            entries.append({**parts.manifest.descriptor, "platform": keys})
        document = {"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": entries}
        blob = Blob(data=json.dumps(document).encode(), media_type=f"{OCI}index.v1+json")
        self.blob(blob.data)
        self.name(name, blob)
        return blob

    def name(self, name: str | None, blob: Blob) -> None:
        annotations = {} if name is None else {"annotations": {"org.opencontainers.image.ref.name": name}}
        self.entries.append({**blob.descriptor, **annotations})
        (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        index = {"schemaVersion": 2, "manifests": self.entries}
        (self.path / "index.json").write_text(json.dumps(index))

    def tar(self, path: Path, mode: str = "w") -> Path:
        """The layout as a tar archive (``mode`` ``w`` or ``w:gz``)."""
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            tar.add(self.path, arcname=".")
        return path
