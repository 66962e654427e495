"""What is known of one image, as docker and podman tell it: ``image inspect`` and ``history``.

The configuration is shown as it was written, by whoever made the image: nothing in it is believed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from nsrun.images.documents import DOCUMENT_LIMIT, ImageManifest, parse
from nsrun.images.layers import Layers
from nsrun.images.store import Store, StoredImage

__all__ = ["Details", "Step", "details", "document", "history"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """An image and its documents. ``names``: every name in the store that leads to the same content."""

    image: StoredImage
    names: tuple[StoredImage, ...]
    manifest: ImageManifest
    configuration: Mapping[str, object]
    diff_ids: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.manifest.config.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How one layer came about, or none (``diff_id`` empty). ``created``: RFC 3339, or empty."""

    created: str
    created_by: str
    comment: str
    diff_id: str


def details(store: Store, image: StoredImage) -> Details:
    """Reads the documents of an image. Blocks. Raises ImageError, FileNotFoundError when one is gone."""
    manifest, configuration = store.documents(image.manifest)
    return Details(
        image=image,
        names=tuple(other for other in store.images() if other.manifest.digest == image.manifest.digest),
        manifest=manifest,
        configuration=parse(store.blobs.read(manifest.config.digest, limit=DOCUMENT_LIMIT)),
        diff_ids=configuration.diff_ids,
    )


def document(found: Details, layers: Layers) -> dict[str, object]:
    """The image in the shape of ``docker image inspect``, and podman's ``Digest``, ``ManifestType``, ``History``."""
    known = found.configuration
    config = known.get("config")
    return {
        "Id": found.id,
        "Digest": found.image.digest,
        "RepoTags": [str(name.reference) for name in found.names if name.reference.tag],
        "RepoDigests": _digests(found.names),
        "Comment": _last_comment(known),
        "Created": _text(known, "created"),
        "Author": _text(known, "author"),
        "Architecture": _text(known, "architecture"),
        **({"Variant": _text(known, "variant")} if _text(known, "variant") else {}),
        "Os": _text(known, "os"),
        "Config": config if isinstance(config, dict) else {},
        "Size": sum(blob.size for blob in (found.manifest.config, *found.manifest.layers)),
        "GraphDriver": {"Name": "overlay", "Data": _places([layers.path(diff_id) for diff_id in found.diff_ids])},
        "RootFS": {"Type": "layers", "Layers": list(found.diff_ids)},
        "ManifestType": str(found.manifest.media_type),
        "History": _entries(known),
    }


def history(found: Details) -> tuple[Step, ...]:
    """How the image was made, the last step first. Layers that the image says nothing about come last."""
    waiting = list(found.diff_ids)
    steps = []
    for entry in _entries(found.configuration):
        layer = "" if entry.get("empty_layer") is True or not waiting else waiting.pop(0)
        steps.append(
            Step(
                created=_text(entry, "created"),
                created_by=_text(entry, "created_by"),
                comment=_text(entry, "comment"),
                diff_id=layer,
            )
        )
    untold = [Step(created="", created_by="", comment="", diff_id=diff_id) for diff_id in waiting]
    return tuple(reversed([*untold, *steps]))


def _digests(names: Sequence[StoredImage]) -> list[str]:
    found = [f"{name.reference.name}@{digest}" for name in names for digest in (name.source, name.digest) if digest]
    return list(dict.fromkeys(found))


def _places(layers: Sequence[Path]) -> dict[str, str]:
    """Topmost first, as overlayfs is told them; what docker calls the upper directory is the image's own last layer."""
    *below, top = layers or [Path()]
    return {
        **({"LowerDir": ":".join(str(layer) for layer in reversed(below))} if below else {}),
        **({"UpperDir": str(top)} if layers else {}),
    }


def _entries(configuration: Mapping[str, object]) -> list[Mapping[str, object]]:
    entries = configuration.get("history")
    if not isinstance(entries, list):
        return []
    return [cast("Mapping[str, object]", entry) for entry in entries if isinstance(entry, dict)]


def _last_comment(configuration: Mapping[str, object]) -> str:
    entries = _entries(configuration)
    return _text(configuration, "comment") or (_text(entries[-1], "comment") if entries else "")


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""
