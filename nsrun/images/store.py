"""The image store: an OCI image layout (image-spec image-layout.md), which skopeo, umoci and crane can read.

    oci-layout, index.json      one entry per name; annotation org.opencontainers.image.ref.name = the full reference
    blobs/sha256/<hex>          manifests, configurations, layers: verified before they got there
    .incoming/                  blobs under way
    .lock, .intake              flock'ed: index.json is being changed; blobs are being brought in

Content comes first, names last: a crash leaves blobs that nothing names (found again by the next pull, or collected),
never names without content. Whoever brings blobs in holds ``.intake`` shared until they are named; whoever collects
holds it alone. Entries that others wrote into index.json are kept as they are. Everything here blocks: call it in a
thread.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from nsrun.errors import ImageError
from nsrun.images.blobs import Blobs, BlobWriter
from nsrun.images.digests import is_digest
from nsrun.images.documents import (
    CONFIG_TYPES,
    DOCUMENT_LIMIT,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    ImageConfiguration,
    ImageManifest,
    MediaType,
    decode_descriptor,
    encode_descriptor,
    encode_manifest,
    json_text,
    parse,
    stored_configuration,
    stored_manifest,
)
from nsrun.images.reference import Reference, parse_reference
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd

__all__ = ["Collecting", "Intake", "Reachable", "Store", "StoredImage"]

_NAME = "org.opencontainers.image.ref.name"
_SOURCE = "nsrun.source.digest"
_ORIGINAL = "nsrun.original.digest"
_LAYOUT = {"imageLayoutVersion": "1.0.0"}
_INDEX_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """A name in the store.

    ``manifest`` is an OCI manifest here; ``digest`` that of the manifest as it was pulled, which is another one when
    that was Docker's. ``source``: what the registry answered for the name, an index's digest for many images.
    """

    reference: Reference
    manifest: Descriptor
    digest: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable:
    """What names and containers still need: blobs by digest, layers by diff_id."""

    blobs: frozenset[str]
    diff_ids: frozenset[str]


class Store:
    """One image layout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        self.blobs = Blobs(directory=root / "blobs", incoming=self._incoming)

    def open(self) -> None:
        """Makes the layout if it is not there; clears away what a crash left halfway. Raises ImageError, OSError."""
        for directory in (self._root, self._root / "blobs", self._root / "blobs" / "sha256", self._incoming):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = self._root / "oci-layout"
        if not marker.exists():
            write_atomic(marker, json_text(_LAYOUT), mode=0o644)
        with self._locked(".lock"):
            if not self._index.exists():
                self._write_index([])
        collection = self.collection()
        if collection is not None:
            with collection:
                self._clear_incoming()

    def _clear_incoming(self) -> None:
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    def images(self) -> tuple[StoredImage, ...]:
        """Every name, sorted. Raises ImageError."""
        found = [image for entry in self._read_index() if (image := _stored_image(entry)) is not None]
        return tuple(sorted(found, key=lambda image: str(image.reference)))

    def find(self, reference: Reference) -> StoredImage | None:
        """The image of that name, None when there is none. Raises ImageError."""
        name = str(reference)
        for entry in self._read_index():
            if _name(entry) == name:
                return _stored_image(entry)
        return None

    def documents(self, manifest: Descriptor) -> tuple[ImageManifest, ImageConfiguration]:
        """The image's two documents. Raises ImageError (ImageInspectError), FileNotFoundError when one is not here."""
        try:
            document = stored_manifest(self.blobs.read(manifest.digest, limit=DOCUMENT_LIMIT), manifest.media_type)
            if not isinstance(document, ImageManifest):
                raise ImageError("the image's document is not valid: it is an index")
            data = self.blobs.read(document.config.digest, limit=DOCUMENT_LIMIT)
            return document, stored_configuration(data, document)
        except ImageError as error:
            raise ImageError(error.message, reason="ImageInspectError", hint=error.hint) from None

    def intake(self) -> Intake:
        """Begins to bring content in. Waits while someone collects."""
        lock = self._open_lock(".intake")
        fcntl.flock(lock.fileno(), fcntl.LOCK_SH)
        return Intake(self, lock)

    def untag(self, reference: Reference) -> bool:
        """Removes a name; its content stays until ``collect``. False when there is no such name."""
        name = str(reference)
        with self._locked(".lock"):
            entries = self._read_index()
            kept = [entry for entry in entries if _name(entry) != name]
            if len(kept) < len(entries):
                self._write_index(kept)
        return len(kept) < len(entries)

    def tag(self, image: StoredImage) -> None:
        """Gives content a name, which then names nothing else."""
        annotations = {_NAME: str(image.reference), _SOURCE: image.source, _ORIGINAL: image.digest}
        entry = encode_descriptor(replace(image.manifest, annotations=annotations))
        with self._locked(".lock"):
            kept = [other for other in self._read_index() if _name(other) != str(image.reference)]
            self._write_index([*kept, entry])

    def collection(self) -> Collecting | None:
        """Begins to collect; None when others are bringing content in, whose blobs no name protects yet."""
        lock = self._open_lock(".intake")
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return Collecting(self, lock)

    def sweep(self, used: Collection[str]) -> frozenset[str]:
        """Only by way of ``Collecting``."""
        needed = self.reachable(used)
        self._clear_incoming()
        for digest in self.blobs.listed() - needed.blobs:
            self.blobs.remove(digest)
        return needed.diff_ids

    def reachable(self, used: Collection[str] = ()) -> Reachable:
        """What index.json and the manifests ``used`` (by digest) lead to. Raises ImageError."""
        blobs: set[str] = set()
        diff_ids: set[str] = set()
        waiting = [decode_descriptor(entry, "index.json") for entry in self._read_index()]
        originals = [descriptor.annotations.get(_ORIGINAL, "") for descriptor in waiting]
        waiting += [_descriptor_of(digest) for digest in (*used, *originals) if is_digest(digest)]
        while waiting:
            descriptor = waiting.pop()
            if descriptor.digest in blobs:
                continue
            blobs.add(descriptor.digest)
            waiting += self._children(descriptor, diff_ids)
        return Reachable(blobs=frozenset(blobs), diff_ids=frozenset(diff_ids))

    def _children(self, descriptor: Descriptor, diff_ids: set[str]) -> Sequence[Descriptor]:
        """What a document names. One that is absent or strange names nothing: it may be someone else's artifact."""
        if descriptor.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            return ()
        try:
            data = self.blobs.read(descriptor.digest, limit=DOCUMENT_LIMIT)
            media_type = parse(data).get("mediaType", descriptor.media_type)
            document = stored_manifest(data, str(media_type))
            if not isinstance(document, ImageManifest):
                return document.manifests
            if document.config.media_type in CONFIG_TYPES:
                config = self.blobs.read(document.config.digest, limit=DOCUMENT_LIMIT)
                diff_ids.update(stored_configuration(config, document).diff_ids)
        except (ImageError, OSError):
            return ()
        return (document.config, *document.layers)

    @property
    def _index(self) -> Path:
        return self._root / "index.json"

    def _read_index(self) -> list[Mapping[str, object]]:
        try:
            data = self._index.read_bytes()
            entries = parse(data, limit=_INDEX_LIMIT).get("manifests")
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise ImageError("manifests is not a list of objects")
        except FileNotFoundError:
            return []
        except ImageError as error:
            raise ImageError(f'cannot read "{self._index}": {error}', reason="ImageInspectError") from None
        return entries

    def _write_index(self, entries: Sequence[Mapping[str, object]]) -> None:
        ordered = sorted(entries, key=lambda entry: (_name(entry) or "", str(entry.get("digest"))))
        document = {"schemaVersion": 2, "mediaType": str(MediaType.OCI_INDEX), "manifests": ordered}
        write_atomic(self._index, json_text(document), mode=0o644)

    def _open_lock(self, name: str) -> Fd:
        return Fd.open(self._root / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._open_lock(name) as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            yield


class _Held:
    """A lock on ``.intake``, let go at the end of the block."""

    def __init__(self, store: Store, lock: Fd) -> None:
        self._store = store
        self._lock = lock

    def close(self) -> None:
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Intake(_Held):
    """The right to bring content in, shared. While one is open, nothing is collected."""

    def writer(self, digest: str | None = None) -> BlobWriter:
        """Begins a blob. Raises OSError."""
        return self._store.blobs.writer() if digest is None else self._store.blobs.writer(digest)

    def add(self, data: bytes, media_type: str, *, like: str | None = None) -> Descriptor:
        """Stores bytes that are at hand, under a digest of the algorithm of ``like``. Raises OSError."""
        with self.writer(like) as writer:
            writer.write(data)
            return Descriptor(media_type=media_type, digest=writer.commit(), size=len(data))

    def keep(self, reference: Reference, data: bytes, manifest: ImageManifest, found: Descriptor) -> StoredImage:
        """Stores a manifest (``data``, described by ``found``) whose blobs are here; the name is still to be given.

        A Docker manifest is written again in OCI's words, as skopeo reads no other in an image layout; the original is
        kept beside it, as its digest is the one that the world knows. Raises OSError.
        """
        own = self.add(data, found.media_type, like=found.digest)
        if manifest.media_type == MediaType.DOCKER_MANIFEST:
            own = self.add(encode_manifest(manifest), MediaType.OCI_MANIFEST)
        return StoredImage(
            reference=reference,
            manifest=replace(own, platform=found.platform),
            digest=found.digest,
            source=found.digest,
        )


class Collecting(_Held):
    """The right to remove content, alone. While one is open, nothing new comes in."""

    def sweep(self, used: Collection[str]) -> frozenset[str]:
        """Removes the blobs that no name and none of the manifests ``used`` (by digest) needs.

        Returns the diff_ids of the layers that are still needed. Raises ImageError, OSError.
        """
        return self._store.sweep(used)


def _name(entry: Mapping[str, object]) -> str | None:
    annotations = entry.get("annotations")
    name = annotations.get(_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _stored_image(entry: Mapping[str, object]) -> StoredImage | None:
    """None for entries of others: without a name of ours, or of something that is not an image manifest."""
    name = _name(entry)
    try:
        reference = parse_reference(name or "")
        descriptor = decode_descriptor(entry, "index.json")
    except ImageError:
        return None
    if str(reference) != name or descriptor.media_type not in MANIFEST_TYPES:
        return None
    original = descriptor.annotations.get(_ORIGINAL, "")
    return StoredImage(
        reference=reference,
        manifest=replace(descriptor, annotations={}),
        digest=original if is_digest(original) else descriptor.digest,
        source=descriptor.annotations.get(_SOURCE, ""),
    )


def _descriptor_of(digest: str) -> Descriptor:
    return Descriptor(media_type=MediaType.OCI_MANIFEST, digest=digest, size=0)
