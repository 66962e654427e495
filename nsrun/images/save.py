"""Images into files: what ``nsrun load``, podman, docker and skopeo read.

    oci-archive      a tar of an OCI image layout. As docker writes it today, a manifest.json is beside the index.json,
                     so every docker loads it; digests stay what they are
    oci-dir          the same layout in a directory
    docker-archive   what docker-archive: of containers-transports(5) is: layers uncompressed, under their diff_id

The same images make the same bytes: documents come first (who reads the stream knows what layers will be), then the
blobs in the order of their digests; no times, no owners. Every blob is verified on its way; one that is damaged ends
the writing before the archive's end is written.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from nsrun.errors import ImageError
from nsrun.images.blobs import Blobs
from nsrun.images.decompress import CorruptBlob, decompressed
from nsrun.images.digests import new_hasher, split_digest
from nsrun.images.documents import (
    Descriptor,
    ImageConfiguration,
    ImageManifest,
    MediaType,
    encode_descriptor,
    json_text,
)
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.store import Store, StoredImage
from nsrun.support.atomic import sync_directory

__all__ = ["Form", "Member", "Sink", "save_archive", "save_directory", "save_file"]

_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_CHUNK = 1 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)


class Form(StrEnum):
    """How images are written."""

    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    OCI_DIR = "oci-dir"


class Sink(Protocol):
    """Where an archive goes: a binary file."""

    def write(self, data: bytes | memoryview, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive: ``data``, or a blob of the store as it is, or (``diff_id``) what is in that blob.

    ``size``: bytes, of what is written."""

    name: str
    size: int
    data: bytes = b""
    blob: str = ""
    diff_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """An image to be saved: all that its names lead to. ``names``: without digests."""

    descriptor: Descriptor
    manifest: ImageManifest
    configuration: ImageConfiguration
    names: tuple[str, ...]


def save_archive(store: Store, images: Sequence[StoredImage], form: Form, out: Sink) -> None:
    """Writes a tar of the images. Blocks. Raises ImageError, OSError; ``out`` then holds a part of an archive."""
    with store.intake():  # nothing is collected meanwhile
        parts = _parts(store, images)
        members = _docker_members(parts, store.blobs) if form is Form.DOCKER_ARCHIVE else _archive_members(parts)
        for directory in ("blobs/", "blobs/sha256/", "blobs/sha512/"):
            if any(member.name.startswith(directory) for member in members):
                out.write(_header(directory, 0, tarfile.DIRTYPE))
        for member in members:
            out.write(_header(member.name, member.size, tarfile.REGTYPE))
            for chunk in _content(member, store.blobs):
                out.write(chunk)
            out.write(bytes(-member.size % tarfile.BLOCKSIZE))
        out.write(_END)


def save_file(store: Store, images: Sequence[StoredImage], form: Form, target: Path) -> None:
    """Writes a tar to a file, which is the old one or the new one; into a pipe or a device at once. Blocks. Raises
    ImageError, OSError."""
    if target.exists() and not target.is_file():
        with target.open("wb") as out:
            save_archive(store, images, form, out)
        return
    work = _beside(target)
    try:
        with open(os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
            save_archive(store, images, form, out)
            out.flush()
            os.fsync(out.fileno())
        os.rename(work, target)
        sync_directory(target.parent)
    finally:
        work.unlink(missing_ok=True)


def save_directory(store: Store, images: Sequence[StoredImage], target: Path) -> None:
    """Writes an OCI image layout to ``target``, which is absent or empty; it appears whole. Blocks. Raises ImageError,
    OSError."""
    work = _beside(target)
    work.mkdir(mode=0o755)
    try:
        with store.intake():
            for member in _directory_members(_parts(store, images)):
                place = work / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("xb") as file:
                    for chunk in _content(member, store.blobs):
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
        os.rename(work, target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _directory_members(parts: Sequence[_Part]) -> list[Member]:
    """The files of an OCI image layout of these images."""
    documents = {part.descriptor.digest: part.descriptor for part in parts}
    configurations = {part.manifest.config.digest: part.manifest.config for part in parts}
    layers = {layer.digest: layer for part in parts for layer in part.manifest.layers}
    return [
        _document("oci-layout", json_text({"imageLayoutVersion": "1.0.0"})),
        _document("index.json", json_text(_index(parts))),
        *_blob_members(documents),
        *_blob_members(configurations),
        *_blob_members(layers),
    ]


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def _parts(store: Store, images: Sequence[StoredImage]) -> list[_Part]:
    """Each image once, with the names it was asked for by; in the order of their digests."""
    parts: dict[str, _Part] = {}
    for image in sorted(images, key=lambda image: (image.manifest.digest, str(image.reference))):
        manifest, configuration = store.documents(image.manifest)
        part = parts.setdefault(
            image.manifest.digest,
            _Part(descriptor=image.manifest, manifest=manifest, configuration=configuration, names=()),
        )
        if str(image.reference) not in part.names:
            parts[image.manifest.digest] = replace(part, names=(*part.names, str(image.reference)))
    return list(parts.values())


def _index(parts: Sequence[_Part]) -> Mapping[str, object]:
    entries = [
        encode_descriptor(replace(part.descriptor, annotations={_REF_NAME: name, _CONTAINERD_NAME: name}))
        for part in parts
        for name in part.names
    ]
    return {"schemaVersion": 2, "mediaType": str(MediaType.OCI_INDEX), "manifests": entries}


def _archive_members(parts: Sequence[_Part]) -> list[Member]:
    """The same, with what docker asks for."""
    docker = _document("manifest.json", json_text([_docker_entry(part) for part in parts]))
    first, second, *others = _directory_members(parts)
    return [first, second, docker, *others]


def _docker_entry(part: _Part) -> dict[str, object]:
    return {
        "Config": _blob_name(part.manifest.config.digest),
        "RepoTags": _tags(part),
        "Layers": [_blob_name(layer.digest) for layer in part.manifest.layers],
    }


def _tags(part: _Part) -> list[str]:
    return [name for name in part.names if "@" not in name]


def _docker_members(parts: Sequence[_Part], blobs: Blobs) -> list[Member]:
    configurations = {part.manifest.config.digest: part.manifest.config for part in parts}
    layers = {
        diff_id: layer
        for part in parts
        for layer, diff_id in zip(part.manifest.layers, part.configuration.diff_ids, strict=True)
    }
    entries: list[dict[str, object]] = [
        {
            "Config": _docker_name(part.manifest.config.digest, ".json"),
            "RepoTags": _tags(part),
            "Layers": [_docker_name(diff_id, ".tar") for diff_id in part.configuration.diff_ids],
        }
        for part in parts
    ]
    return [
        _document("manifest.json", json_text(entries)),
        *(
            Member(name=_docker_name(digest, ".json"), size=configuration.size, blob=digest)
            for digest, configuration in sorted(configurations.items())
        ),
        *(
            Member(
                name=_docker_name(diff_id, ".tar"),
                size=sum(len(chunk) for chunk in _uncompressed(layer.digest, diff_id, blobs)),
                blob=layer.digest,
                diff_id=diff_id,
            )
            for diff_id, layer in sorted(layers.items())
        ),
    ]


def _document(name: str, data: bytes) -> Member:
    return Member(name=name, size=len(data), data=data)


def _blob_members(descriptors: Mapping[str, Descriptor]) -> Iterator[Member]:
    for digest, descriptor in sorted(descriptors.items()):
        yield Member(name=_blob_name(digest), size=descriptor.size, blob=digest)


def _blob_name(digest: str) -> str:
    algorithm, encoded = split_digest(digest)
    return f"blobs/{algorithm}/{encoded}"


def _docker_name(digest: str, suffix: str) -> str:
    return split_digest(digest)[1] + suffix


def _header(name: str, size: int, kind: bytes) -> bytes:
    """PAX records are written only where ustar does not reach: files of 8 GiB and more."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.mode = size, kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)


def _content(member: Member, blobs: Blobs) -> Iterator[bytes]:
    if member.diff_id:
        return _uncompressed(member.blob, member.diff_id, blobs)
    return _whole(member, blobs) if member.blob else iter((member.data,))


def _whole(member: Member, blobs: Blobs) -> Iterator[bytes]:
    """A blob as it is. Never more than its size: the header of the archive is written already."""
    hasher, left = new_hasher(member.blob), member.size
    with blobs.reader(member.blob) as blob:
        while left and (chunk := blob.read(min(_CHUNK, left))):
            hasher.update(chunk)
            left -= len(chunk)
            yield chunk
    if left or f"{member.blob.partition(':')[0]}:{hasher.hexdigest()}" != member.blob:
        raise _damaged(member.blob)


def _uncompressed(digest: str, diff_id: str, blobs: Blobs) -> Iterator[bytes]:
    hasher = new_hasher(diff_id)
    with blobs.reader(digest) as blob:
        try:
            for chunk in decompressed(blob, limits=DEFAULT_LIMITS):
                hasher.update(chunk)
                yield chunk
        except CorruptBlob:
            raise _damaged(digest) from None
    if f"{diff_id.partition(':')[0]}:{hasher.hexdigest()}" != diff_id:
        raise _damaged(digest)


def _damaged(digest: str) -> ImageError:
    return ImageError(
        f"the stored blob {digest} is damaged",
        reason="ImageInspectError",
        hint="remove the image, and pull it again",
    )
