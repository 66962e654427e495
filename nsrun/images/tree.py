"""What images take, and what they share: by image, by layer, as a tree of layers. Sizes in bytes.

Two sizes, as everywhere: that of the blobs, compressed, which is what a pull fetches; and that of the unpacked files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["ImageUse", "LayerNode", "LayerUse", "StoredLayers", "forest", "shared_and_own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUse:
    """A layer of an image. ``blob``: the digest of the compressed one, of ``compressed`` bytes. ``unpacked``: of its
    files, 0 while it is not unpacked."""

    diff_id: str
    blob: str
    compressed: int
    unpacked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayers:
    """An image and its layers, bottom first. ``names``: all that lead to it. ``id``: the configuration's digest.
    ``documents``: bytes of manifest and configuration. ``used``: whether a container was made from it."""

    names: tuple[str, ...]
    id: str
    layers: tuple[LayerUse, ...]
    documents: int = 0
    used: bool = False

    @property
    def compressed(self) -> int:
        return self.documents + sum(layer.compressed for layer in {layer.blob: layer for layer in self.layers}.values())

    @property
    def unpacked(self) -> int:
        return sum(layer.unpacked for layer in {layer.diff_id: layer for layer in self.layers}.values())


@dataclass(slots=True)
class LayerNode:
    """A layer on top of others. ``images``: names of those of which it is the topmost. ``count``: images that have it,
    wherever it lies in them."""

    layer: LayerUse
    count: int
    images: list[str] = field(default_factory=list)
    above: list[LayerNode] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUse:
    """What an image takes, blobs and files together: with others, and alone. ``own`` is what its removal gives back."""

    image: StoredLayers
    shared: int
    own: int


def forest(images: Sequence[StoredLayers]) -> list[LayerNode]:
    """The layers as they lie on each other: images that begin alike share a trunk. Pure."""
    counts = _counts(images)
    roots: list[LayerNode] = []
    for image in images:
        level, node = roots, None
        for layer in image.layers:
            node = next((known for known in level if known.layer.diff_id == layer.diff_id), None)
            if node is None:
                node = LayerNode(layer=layer, count=counts[layer.diff_id])
                level.append(node)
            level = node.above
        if node is not None:
            node.images.extend(image.names)
    return roots


def shared_and_own(images: Sequence[StoredLayers]) -> list[ImageUse]:
    """Of every image. Pure."""
    unpacked, blobs = _counts(images), _blob_counts(images)
    found = []
    for image in images:
        whole = own = 0
        for blob, layer in {layer.blob: layer for layer in image.layers}.items():
            whole += layer.compressed
            own += layer.compressed if blobs[blob] == 1 else 0
        for diff_id, layer in {layer.diff_id: layer for layer in image.layers}.items():
            whole += layer.unpacked
            own += layer.unpacked if unpacked[diff_id] == 1 else 0
        found.append(ImageUse(image=image, shared=whole - own, own=own + image.documents))
    return found


def _counts(images: Iterable[StoredLayers]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for image in images:
        for diff_id in {layer.diff_id for layer in image.layers}:
            counts[diff_id] = counts.get(diff_id, 0) + 1
    return counts


def _blob_counts(images: Iterable[StoredLayers]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for image in images:
        for blob in {layer.blob for layer in image.layers}:
            counts[blob] = counts.get(blob, 0) + 1
    return counts
