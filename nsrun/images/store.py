"""The image store: an OCI image layout (image-spec image-layout.md), which skopeo, umoci and crane can read.

    oci-layout, index.json      one entry per name; annotation org.opencontainers.image.ref.name = the full reference
    .names.json, .lock          what nsrun knows of that, and flock'ed while it changes: ``names``
    blobs/sha256/<hex>          manifests, configurations, layers: verified before they got there
    .incoming/                  blobs under way; *.partial: their beginnings, with which the next pull goes on
    .intake                     flock'ed: blobs are being brought in

Content comes first, names last: a crash leaves blobs that nothing names (found again by the next pull, or collected),
never names without content. Whoever brings blobs in holds ``.intake`` shared until they are named; whoever collects
holds it alone. What skopeo and buildah write into the layout is an image as any other, under the name that the one they
gave it stands for; as they hold no lock, a blob of theirs that nothing names yet is left alone for an hour.

Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from nsrun.errors import ImageError
from nsrun.images.blobs import Blobs, BlobWriter, is_partial
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
    accept_configuration,
    accept_manifest,
    decode_descriptor,
    encode_descriptor,
    encode_manifest,
    json_text,
    parse,
    stored_configuration,
    stored_manifest,
)
from nsrun.images.names import (
    NAME,
    ORIGINAL,
    SECRETS,
    SOURCE,
    Entry,
    Names,
    by_reference,
    entry_name,
    is_ours,
    reference_of,
)
from nsrun.images.platform import Platform, best_match, platform_of_machine
from nsrun.images.reference import Reference, parse_reference
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd

__all__ = ["FOREIGN_GRACE", "Collecting", "Intake", "Reachable", "Store", "StoredImage", "Swept"]

logger = logging.getLogger(__name__)

_LAYOUT = {"imageLayoutVersion": "1.0.0"}
# Seconds for which a blob that somebody else wrote needs no name.
FOREIGN_GRACE = 3600.0
_OWN_MODE = 0o600
# Seconds for which who collects waits for who does already.
_PATIENCE, _PAUSE, _LOOKS = 30.0, 0.02, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """A name in the store.

    ``manifest`` is an OCI manifest here; ``digest`` that of the manifest as it was pulled, which is another one when
    that was Docker's. ``source``: what the registry answered for the name, an index's digest for many images;
    empty for what others wrote into the store.
    """

    reference: Reference
    manifest: Descriptor
    digest: str
    source: str
    secrets: frozenset[str] = frozenset()
    """Who may use it: ``private``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable:
    """What names and containers still need: blobs by digest, layers by diff_id."""

    blobs: frozenset[str]
    diff_ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What was removed: blobs by digest, and the bytes they took on the disk. ``needed``: diff_ids that still are, None
    when that cannot be known, as documents are gone of an image that a container runs from."""

    blobs: frozenset[str]
    freed: int
    needed: frozenset[str] | None


class Store:
    """One image layout. ``machine``: which image of several a name means that skopeo gave to all of them."""

    def __init__(self, root: Path, *, machine: Platform | None = None) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        self._machine = machine or platform_of_machine(platform.machine())
        self.blobs = Blobs(directory=root / "blobs", incoming=self._incoming)
        self.names = Names(root, has=self._has)

    def open(self) -> None:
        """Makes the layout if it is not there; clears away what a crash left halfway. Raises ImageError, OSError."""
        for directory in (self._root, self._root / "blobs", self._root / "blobs" / "sha256", self._incoming):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = self._root / "oci-layout"
        if not marker.exists():
            write_atomic(marker, json_text(_LAYOUT), mode=0o644)
        try:
            self.names.settle()
        except (ImageError, OSError) as error:  # who reads can do without
            logger.warning("Names of images cannot be settled: %s", error)
        collection = self.collection(patience=0.0)
        if collection is not None:
            with collection:
                self._clear_incoming(but=is_partial)

    def _clear_incoming(self, *, but: Callable[[str], bool] = lambda _: False) -> None:
        for leftover in self._incoming.iterdir():
            if not but(leftover.name):
                leftover.unlink()

    def images(self) -> tuple[StoredImage, ...]:
        """Every name, sorted. Raises ImageError."""
        named = by_reference(self.names.entries())
        return tuple(image for name in sorted(named) if (image := self._stored_image(named[name])) is not None)

    def find(self, reference: Reference) -> StoredImage | None:
        """The image of that name, None when there is none. Raises ImageError."""
        entry = by_reference(self.names.entries()).get(str(reference))
        return None if entry is None else self._stored_image(entry)

    def documents(self, manifest: Descriptor, *, strange: bool = False) -> tuple[ImageManifest, ImageConfiguration]:
        """The image's two documents. ``strange``: nobody has looked at them yet, so they pass the gates of a pull.

        Raises ImageError (ImageInspectError), FileNotFoundError when one is not here.
        """
        decode_manifest, decode_configuration = stored_manifest, stored_configuration
        if strange:
            decode_manifest, decode_configuration = accept_manifest, accept_configuration
        try:
            document = decode_manifest(self.blobs.read(manifest.digest, limit=DOCUMENT_LIMIT), manifest.media_type)
            if not isinstance(document, ImageManifest):
                raise ImageError("the image's document is not valid: it is an index")
            data = self.blobs.read(document.config.digest, limit=DOCUMENT_LIMIT)
            return document, decode_configuration(data, document)
        except ImageError as error:
            raise ImageError(error.message, reason="ImageInspectError", hint=error.hint) from None

    def intake(self) -> Intake:
        """Begins to bring content in. Waits while someone collects."""
        lock = self._open_lock(".intake")
        fcntl.flock(lock.fileno(), fcntl.LOCK_SH)
        return Intake(self, lock)

    def drop(self, unwanted: Callable[[Entry], bool]) -> bool:
        """Removes entries; their content stays until ``collect``. False when there are none. Raises ImageError,
        OSError."""
        found = False

        def without(entries: list[Entry]) -> list[Entry]:
            nonlocal found
            kept = [entry for entry in entries if not unwanted(entry)]
            found = found or len(kept) < len(entries)
            return kept

        self.names.change(without)
        return found

    def untag(self, reference: Reference) -> bool:
        """Removes a name. False when there is no such name."""
        name = str(reference)
        return self.drop(lambda entry: reference_of(entry) == name)

    def tag(self, image: StoredImage) -> None:
        """Gives content a name, which then names nothing else."""
        name = str(image.reference)
        annotations = {NAME: name, SOURCE: image.source, ORIGINAL: image.digest}
        if image.secrets:
            annotations[SECRETS] = " ".join(sorted(image.secrets))
        entry = encode_descriptor(replace(image.manifest, annotations=annotations))
        self.names.change(lambda entries: [*(other for other in entries if reference_of(other) != name), entry])

    def collection(self, *, patience: float = _PATIENCE) -> Collecting | None:
        """Begins to collect; waits ``patience`` seconds for another one who does. None when others are bringing content
        in, whose blobs no name protects yet."""
        lock, pulls = self._open_lock(".intake"), 0
        deadline = time.monotonic() + patience
        while not _is_locked(lock, fcntl.LOCK_EX):
            # Who collects shares it with nobody. Somebody who looks, as this does, shares it for a moment.
            pulls = pulls + 1 if _is_locked(lock, fcntl.LOCK_SH) else 0
            fcntl.flock(lock.fileno(), fcntl.LOCK_UN)
            if pulls == _LOOKS or time.monotonic() >= deadline:
                lock.close()
                return None
            time.sleep(_PAUSE)
        return Collecting(self, lock)

    def sweep(self, used: Collection[str]) -> Swept:
        """Only by way of ``Collecting``."""
        unneeded, needed = self.unneeded(used)
        self._clear_incoming()
        freed = sum(self.remove_blob(digest) for digest in unneeded)
        return Swept(blobs=unneeded, freed=freed, needed=needed)

    def unneeded(
        self, used: Collection[str] = (), *, without: Callable[[Entry], bool] = lambda _: False
    ) -> tuple[frozenset[str], frozenset[str] | None]:
        """The blobs that nothing needs, and the diff_ids that something does (see ``Swept``), as if there were no
        entries of which ``without`` is true. Raises ImageError."""
        needed, running = self.reachable(used, without=without), self.layers_of(used)
        free = (digest for digest in self.blobs.listed() - needed.blobs if is_digest(digest))
        blobs = frozenset(digest for digest in free if not self.may_be_coming(digest))
        return blobs, None if running is None else needed.diff_ids | running

    def blob_takes(self, digest: str) -> int:
        """The bytes that a blob takes on the disk; 0 when it is not here."""
        try:
            return self.blobs.path(digest).lstat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def remove_blob(self, digest: str) -> int:
        """Removes a blob; the bytes it took on the disk. Raises OSError."""
        takes = self.blob_takes(digest)
        self.blobs.remove(digest)
        return takes

    def may_be_coming(self, digest: str) -> bool:
        """Whether somebody without our lock may have written this blob, and be about to name it."""
        try:
            status = self.blobs.path(digest).lstat()
        except FileNotFoundError:
            return False
        return status.st_mode & 0o777 != _OWN_MODE and abs(time.time() - status.st_ctime) < FOREIGN_GRACE

    def reachable(self, used: Collection[str] = (), *, without: Callable[[Entry], bool] = lambda _: False) -> Reachable:
        """What index.json and the manifests ``used`` (by digest) lead to. Raises ImageError."""
        named = [_descriptor(entry) for entry in self.names.entries_for_certain() if not without(entry)]
        originals = [descriptor.annotations.get(ORIGINAL, "") for descriptor in named if descriptor is not None]
        roots = map(_descriptor_of, filter(is_digest, (*used, *originals)))
        return self._follow([*(descriptor for descriptor in named if descriptor is not None), *roots])

    def layers_of(self, used: Collection[str]) -> frozenset[str] | None:
        """The diff_ids of the layers of these manifests (by digest); None when not all of them can be read."""
        diff_ids: set[str] = set()
        for digest in filter(is_digest, used):
            try:
                data = self.blobs.read(digest, limit=DOCUMENT_LIMIT)
                media_type = str(parse(data).get("mediaType", MediaType.OCI_MANIFEST))
                _, configuration = self.documents(Descriptor(media_type=media_type, digest=digest, size=len(data)))
            except (ImageError, OSError):
                return None
            diff_ids.update(configuration.diff_ids)
        return frozenset(diff_ids)

    def _follow(self, waiting: list[Descriptor]) -> Reachable:
        blobs: set[str] = set()
        diff_ids: set[str] = set()
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

    def _stored_image(self, entry: Entry) -> StoredImage | None:
        """None for what is not an image for this machine."""
        try:
            descriptor = decode_descriptor(entry, "index.json")
            annotations = descriptor.annotations if is_ours(entry) else {}
            if descriptor.media_type in INDEX_TYPES:
                descriptor = self._chosen(descriptor)
        except (ImageError, OSError):
            return None
        if descriptor.media_type not in MANIFEST_TYPES:
            return None
        original = annotations.get(ORIGINAL, "")
        return StoredImage(
            reference=parse_reference(entry_name(entry) or ""),
            manifest=replace(descriptor, annotations={}),
            digest=original if is_digest(original) else descriptor.digest,
            source=annotations.get(SOURCE, ""),
            secrets=frozenset(annotations.get(SECRETS, "").split()),
        )

    def _chosen(self, index: Descriptor) -> Descriptor:
        """What an image for several platforms has for this one. Raises ImageError, FileNotFoundError."""
        document = accept_manifest(self.blobs.read(index.digest, limit=DOCUMENT_LIMIT), index.media_type)
        listed = () if isinstance(document, ImageManifest) else document.manifests
        position = best_match((manifest.platform for manifest in listed), self._machine)
        if position is None:
            raise ImageError(f"there is nothing for {self._machine} in it")
        return listed[position]

    def _has(self, digest: str) -> bool:
        return is_digest(digest) and self.blobs.path(digest).exists()

    def _open_lock(self, name: str) -> Fd:
        return Fd.open(self._root / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)


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

    def continued(self, digest: str) -> BlobWriter:
        """Goes on with the blob ``digest``, of which an earlier pull may have left a beginning. Raises OSError."""
        return self._store.blobs.continued(digest)

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

    def sweep(self, used: Collection[str]) -> Swept:
        """Removes the blobs that no name and none of the manifests ``used`` (by digest) needs.

        Raises ImageError, OSError.
        """
        return self._store.sweep(used)


def _is_locked(lock: Fd, how: int) -> bool:
    """Whether it could be locked so at once."""
    try:
        fcntl.flock(lock.fileno(), how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _descriptor(entry: Entry) -> Descriptor | None:
    """None for what is none: it leads nowhere."""
    try:
        return decode_descriptor(entry, "index.json")
    except ImageError:
        return None


def _descriptor_of(digest: str) -> Descriptor:
    return Descriptor(media_type=MediaType.OCI_MANIFEST, digest=digest, size=0)
