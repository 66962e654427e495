"""Whether a store is whole: names, documents, blobs, unpacked layers, and what lies about.

Every blob is hashed; every document passes the gates of a pull; every unpacked layer is unpacked once more beside the
first and compared, file by file. ``quick``: only whether things are there and have their size. Nothing is changed here.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path

from nsrun.errors import ImageError, describe_errno
from nsrun.images.compare import differences
from nsrun.images.digests import is_digest, new_hasher
from nsrun.images.documents import (
    DOCUMENT_LIMIT,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    ImageManifest,
    accept_configuration,
    accept_manifest,
    decode_descriptor,
)
from nsrun.images.layerintake import LayerIntake
from nsrun.images.layers import Layers
from nsrun.images.names import ORIGINAL, Entry, reference_of
from nsrun.images.offloop import off_loop
from nsrun.images.store import Store
from nsrun.images.wording import printable
from nsrun.support.fds import Fd

__all__ = ["Checker", "Finding", "Kind", "Watcher", "leftovers"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_CHUNK = 1 << 20
_NOT_WHOLE = (
    "it is not whole: layer.json is missing, or of another version, or the machine went down before it was on the disk"
)
_SHOWN = 3  # differences of one layer that are told

Watcher = Callable[[str, int, int], None]
"""Told how far it is: what is looked at (``blobs``, ``layers``), how many are done, and of how many."""


class Kind(StrEnum):
    """What a finding is about."""

    INDEX = "index"
    IMAGE = "image"
    BLOB = "blob"
    LAYER = "layer"
    UNCHECKED = "unchecked"
    LEFTOVER = "leftover"
    UNNEEDED = "unneeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be. ``subject``: an image's name, a digest, a diff_id or a path; ``remedy``:
    what helps. ``repaired``: whether it is no more. ``left``: why it could not be repaired."""

    kind: Kind
    subject: str
    problem: str
    remedy: str
    repaired: bool = False
    left: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}: {self.problem}"


@dataclass(slots=True)
class _Seen:
    """What has been found so far. ``sources``: the descriptor of the blob of every layer that an image has, by diff_id;
    ``bad``: digests of blobs that are not what their names say."""

    findings: list[Finding] = field(default_factory=list)
    sources: dict[str, Descriptor] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)


class Checker:
    """Looks at one store. ``layers_root``: where ``layers`` keeps its directories."""

    def __init__(self, *, store: Store, layers: Layers, images_root: Path, layers_root: Path) -> None:
        self._store = store
        self._layers = layers
        self._images_root = images_root
        self._layers_root = layers_root

    async def check(self, *, quick: bool = False, watch: Watcher = lambda *_: None) -> tuple[Finding, ...]:
        """What is wrong, the names first. While it looks, nothing is removed. Raises ImageError, OSError."""
        with await off_loop(self._store.intake):
            seen = _Seen()
            blobs = sorted(await off_loop(self._store.blobs.listed))
            await self._blobs(seen, [blob for blob in blobs if is_digest(blob)], quick=quick, watch=watch)
            await off_loop(lambda: self._names(seen))
            await self._unpacked(seen, quick=quick, watch=watch)
            await off_loop(lambda: self._lying_about(seen, blobs))
        return tuple(sorted(seen.findings, key=lambda finding: (list(Kind).index(finding.kind), finding.subject)))

    # --- blobs

    async def _blobs(self, seen: _Seen, digests: list[str], *, quick: bool, watch: Watcher) -> None:
        async def one(digest: str) -> None:
            problem = await off_loop(lambda: self._blob_problem(digest, quick=quick))
            if problem is not None:
                seen.bad.add(digest)
                remedy = "nsrun store check --repair removes it; nsrun pull then fetches it again"
                seen.findings.append(Finding(kind=Kind.BLOB, subject=digest, problem=problem, remedy=remedy))

        await _each(digests, one, lambda done, total: watch("blobs", done, total))

    def _blob_problem(self, digest: str, *, quick: bool) -> str | None:
        try:
            with Fd.open(self._store.blobs.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as file:
                if quick:
                    return None
                hasher = new_hasher(digest)
                while chunk := os.read(file.fileno(), _CHUNK):
                    hasher.update(chunk)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"it cannot be read: {describe_errno(error.errno or errno.EIO)}"
        found = f"{digest.partition(':')[0]}:{hasher.hexdigest()}"
        return None if found == digest else f"it is damaged: its content is {found}"

    # --- names and what they lead to

    def _names(self, seen: _Seen) -> None:
        try:
            entries = self._store.names.entries_for_certain()
        except ImageError as error:
            remedy = "nsrun store check --repair makes it again from what nsrun knows"
            seen.findings.append(Finding(kind=Kind.INDEX, subject="index.json", problem=str(error), remedy=remedy))
            entries = self._store.names.entries() if self._store.names.knows() else []
        for entry in entries:
            for problem in self._entry_problems(seen, entry):
                name = reference_of(entry) or printable(str(entry.get("digest")))
                remedy = f"nsrun pull {name}" if reference_of(entry) else "nsrun prune removes it"
                seen.findings.append(Finding(kind=Kind.IMAGE, subject=name, problem=problem, remedy=remedy))

    def _entry_problems(self, seen: _Seen, entry: Entry) -> Iterator[str]:
        try:
            descriptor = decode_descriptor(entry, "index.json")
        except ImageError as error:
            yield str(error)
            return
        yield from self._document_problems(seen, descriptor)
        original = descriptor.annotations.get(ORIGINAL, "")
        if is_digest(original) and original != descriptor.digest:
            yield from self._blob_problems(seen, original, None)

    def _document_problems(self, seen: _Seen, descriptor: Descriptor) -> Iterator[str]:
        problems = list(self._blob_problems(seen, descriptor.digest, descriptor.size))
        if problems or descriptor.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            yield from problems  # an artifact of others is not looked into
            return
        try:
            document = accept_manifest(self._read(descriptor), descriptor.media_type)
        except ImageError as error:
            yield f"{descriptor.digest}: {error}"
            return
        if not isinstance(document, ImageManifest):
            for child in document.manifests:
                if self._store.blobs.path(child.digest).exists():  # of other platforms there may be none
                    yield from self._document_problems(seen, child)
            return
        yield from self._image_problems(seen, document)

    def _image_problems(self, seen: _Seen, manifest: ImageManifest) -> Iterator[str]:
        for blob in {blob.digest: blob for blob in (manifest.config, *manifest.layers)}.values():
            yield from self._blob_problems(seen, blob.digest, blob.size)
        try:
            configuration = accept_configuration(self._read(manifest.config), manifest)
        except ImageError as error:
            yield f"{manifest.config.digest}: {error}"
            return
        except OSError:
            return  # told already
        for layer, diff_id in zip(manifest.layers, configuration.diff_ids, strict=True):
            seen.sources.setdefault(diff_id, layer)

    def _read(self, descriptor: Descriptor) -> bytes:
        return self._store.blobs.read(descriptor.digest, limit=DOCUMENT_LIMIT)

    def _blob_problems(self, seen: _Seen, digest: str, size: int | None) -> Iterator[str]:
        try:
            there = self._store.blobs.path(digest).stat().st_size
        except OSError:
            yield f"blob {digest} is missing"
            return
        if digest in seen.bad:
            yield f"blob {digest} is damaged"
        elif size is not None and there != size:
            seen.bad.add(digest)
            yield f"blob {digest} has {there} bytes instead of {size}"

    # --- unpacked layers

    async def _unpacked(self, seen: _Seen, *, quick: bool, watch: Watcher) -> None:
        whole = await self._layers.list()
        known = [diff_id for diff_id in whole if not quick and self._comparable(seen, diff_id)]
        for diff_id in sorted(set(await off_loop(lambda: list(_homes(self._layers_root)))) - set(whole)):
            self._add_layer(seen, diff_id, _NOT_WHOLE)
        for diff_id in whole:
            if not await off_loop(self._layers.path(diff_id).is_dir):
                self._add_layer(seen, diff_id, "its files are missing")
                known = [other for other in known if other != diff_id]

        async def one(diff_id: str) -> None:
            try:
                problems = await self._compare(scratch, diff_id, seen.sources[diff_id])
            except ImageError as error:
                problem = f"it was not compared with its blob: {error}"
                remedy = error.hint or "it stays as it is"
                seen.findings.append(Finding(kind=Kind.UNCHECKED, subject=diff_id, problem=problem, remedy=remedy))
                return
            if problems:
                self._add_layer(seen, diff_id, "; ".join(problems))

        if known:
            async with self._scratch() as scratch:
                await _each(known, one, lambda done, total: watch("layers", done, total))

    def _comparable(self, seen: _Seen, diff_id: str) -> bool:
        source = seen.sources.get(diff_id)
        return (
            source is not None and source.digest not in seen.bad and self._store.blobs.has(source.digest, source.size)
        )

    def _add_layer(self, seen: _Seen, diff_id: str, problem: str) -> None:
        remedy = "nsrun store check --repair removes it; it is unpacked again when it is needed"
        seen.findings.append(Finding(kind=Kind.LAYER, subject=diff_id, problem=problem, remedy=remedy))

    async def _compare(self, scratch: Layers, diff_id: str, source: Descriptor) -> list[str]:
        """Unpacks the layer once more, and says how what is there is another one. Raises ImageError when that cannot be
        done, for want of room as a rule."""
        blob = self._store.blobs.path(source.digest)
        try:
            wanted = await scratch.ensure(blob=blob, media_type=source.media_type, diff_id=diff_id)
            found = self._layers.path(diff_id)
            return await off_loop(lambda: _differences(wanted, found))
        except OSError as error:
            return [f"it cannot be read: {describe_errno(error.errno or errno.EIO)}"]
        finally:
            await scratch.remove(diff_id)

    @asynccontextmanager
    async def _scratch(self) -> AsyncIterator[Layers]:
        """A place for layers, locked so that nobody takes it for left over, gone at the end."""
        place = self._layers_root / "tmp" / f"check.{secrets.token_hex(4)}"
        held = await off_loop(lambda: LayerIntake.begin(place))
        try:
            yield Layers(place)
        finally:
            await off_loop(held.close)

    # --- what lies about

    def _lying_about(self, seen: _Seen, blobs: list[str]) -> None:
        for path, problem in leftovers(self._images_root, self._layers_root):
            remedy = "nsrun store check --repair removes it"
            seen.findings.append(Finding(kind=Kind.LEFTOVER, subject=str(path), problem=problem, remedy=remedy))
        try:
            unneeded, needed = self._store.unneeded()
        except ImageError:
            return  # without names nothing is known to be unneeded
        unpacked = set(_homes(self._layers_root)) - (needed or set()) - {one.subject for one in seen.findings}
        for digest in sorted((set(unneeded) | unpacked) - seen.bad):
            what = "blob" if digest in blobs else "unpacked layer"
            self._add_unneeded(seen, digest, f"no image needs this {what}")

    def _add_unneeded(self, seen: _Seen, digest: str, problem: str) -> None:
        remedy = "nsrun prune removes it, unless a container runs from it"
        seen.findings.append(Finding(kind=Kind.UNNEEDED, subject=digest, problem=problem, remedy=remedy))


def leftovers(images_root: Path, layers_root: Path) -> Iterator[tuple[Path, str]]:
    """What nobody holds any more of what once was under way, with what it is."""
    for path in _listed(images_root / ".incoming"):
        if not _is_held(path):
            yield path, "a download that was broken off"
    for path in _listed(layers_root / "tmp"):
        if not _is_held(path):
            yield path, "a layer in the making, or on its way out, that was left behind"
    for path in _listed(images_root):
        if path.name.startswith("oci-put-blob") and not _is_held(path):
            yield path, "a blob that another program did not finish"
    for algorithm in _listed(images_root / "blobs"):
        for path in _listed(algorithm):
            if not is_digest(f"{algorithm.name}:{path.name}"):
                yield path, "no blob has such a name"


def _is_held(path: Path) -> bool:
    """Whether somebody has locked it."""
    try:
        with Fd.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _homes(root: Path) -> Iterator[str]:
    """The diff_ids that have a directory, whole or not."""
    for algorithm in _listed(root):
        names = (f"{algorithm.name}:{home.name}" for home in _listed(algorithm) if algorithm.name != "tmp")
        yield from filter(is_digest, names)


def _differences(wanted: Path, found: Path) -> list[str]:
    with Fd.open(wanted, _DIRECTORY) as one, Fd.open(found, _DIRECTORY) as other:
        return list(islice(differences(one.fileno(), other.fileno()), _SHOWN))


async def _each(digests: list[str], work: Callable[[str], Awaitable[None]], watch: Callable[[int, int], None]) -> None:
    """Works at all of them, as many at once as there are processors."""
    places, done = asyncio.Semaphore(os.cpu_count() or 1), 0

    async def one(digest: str) -> None:
        nonlocal done
        async with places:
            await work(digest)
        done += 1
        watch(done, len(digests))

    async with asyncio.TaskGroup() as group:
        for digest in digests:
            group.create_task(one(digest))
