"""index.json of an image layout: the names of the images. skopeo, buildah and umoci write it too, and know no lock.

They read it when they begin and write it when they end, in place: names that were given meanwhile are lost with that,
and who reads in that moment, or after they were killed in it, finds half a file. So nsrun keeps beside it

    .names.json     the entries as nsrun last saw or left them

and reads both: an entry of ``.names.json`` whose name is gone from index.json, but whose manifest is still here, was
lost and counts (who really removes an image, removes its blobs: skopeo delete, nsrun rmi). One that nsrun had removed
and that comes back without its manifest does not count. While index.json is not readable, ``.names.json`` stands in.

Whoever writes it holds ``.lock``, replaces it in one step, and then looks whether somebody wrote into the old file
meanwhile: what they added is taken over. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from nsrun.errors import ImageError
from nsrun.images.digests import is_digest
from nsrun.images.documents import MediaType, json_text, parse
from nsrun.images.reference import parse_reference
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd

__all__ = [
    "NAME",
    "ORIGINAL",
    "SECRETS",
    "SOURCE",
    "Entry",
    "Names",
    "by_reference",
    "entry_name",
    "is_ours",
    "merged",
    "reference_of",
]

logger = logging.getLogger(__name__)

NAME = "org.opencontainers.image.ref.name"
SOURCE = "nsrun.source.digest"
ORIGINAL = "nsrun.original.digest"
SECRETS = "nsrun.pull.secrets"

_LIMIT = 64 << 20
# A foreign writer needs microseconds between the moment it empties the file and the moment it has filled it.
_PATIENCE, _PAUSE = 2.0, 0.005
_ATTEMPTS = 100

Entry = Mapping[str, object]


class Names:
    """The names of one layout. ``has``: whether the blob of a digest is here."""

    def __init__(self, root: Path, *, has: Callable[[str], bool]) -> None:
        self._root = root
        self._index = root / "index.json"
        self._kept = root / ".names.json"
        self._has = has

    def entries(self) -> list[Entry]:
        """Every entry that counts. Raises ImageError when neither file can be read."""
        kept = self._read_kept()
        try:
            found = self._read(self._index)
        except ImageError:
            if kept is None:
                raise
            return kept
        return merged(kept or (), found, self._has)

    def entries_for_certain(self) -> list[Entry]:
        """The same for who removes what has no name: half a file is no reason to. Raises ImageError."""
        with self._settled() as (_, _, found, problem):
            if problem is not None:
                raise _unreadable(self._index, problem)
            return merged(self._read_kept() or (), found or (), self._has)

    def knows(self) -> bool:
        """Whether there is something to make index.json again from."""
        return self._read_kept() is not None

    def settle(self) -> bool:
        """Writes down what counts, so that others read it too. False when index.json was not readable, and was made
        again from what nsrun knew. Raises ImageError when nsrun knew nothing, OSError."""
        with self._locked():
            return self._write(list)

    def change(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        """Replaces the entries with what ``change`` makes of them. It may be called several times. Raises ImageError,
        OSError."""
        with self._locked():
            self._write(change)

    def forget(self) -> None:
        """Begins anew without any name, when there is no other way. Raises OSError."""
        with self._locked():
            write_atomic(self._index, _document([]), mode=0o644)
            write_atomic(self._kept, _document([]), durable=False)

    # --- what follows holds .lock

    def _write(self, change: Callable[[list[Entry]], list[Entry]]) -> bool:
        """Returns whether index.json was readable."""
        late: list[Entry] = []
        for _ in range(_ATTEMPTS):
            with self._settled() as (old, before, found, problem):
                if problem is not None:
                    self._give_up(problem)
                wanted = _sorted(change(_with(merged(self._read_kept() or (), found or (), self._has), late)))
                replacing = found is None or _sorted(found) != wanted
                if replacing:
                    with self._opened() as now:
                        if _content(now) != before:
                            continue  # somebody wrote it meanwhile
                    write_atomic(self._index, _document(wanted), mode=0o644)
                self._keep(wanted)
                late = self._written_since(old, before, found or ()) if replacing else []
            if not late:
                return found is not None or before is None
        raise ImageError(f'cannot write "{self._index}": others write it all the time')

    @contextmanager
    def _settled(self) -> Iterator[tuple[Fd | None, bytes | None, list[Entry] | None, ImageError | None]]:
        """The open file, its content and its entries, once nobody is in the midst of writing it. No entries: there is
        no file; or half a one that stays so, and then a problem."""
        seen, deadline = None, 0.0
        while True:
            with self._opened() as file:
                content, found, problem = _content(file), None, None
                try:
                    found = None if content is None else _decode(content)
                except ImageError as error:
                    problem, now = error, time.monotonic()
                    if content != seen:
                        seen, deadline = content, now + _PATIENCE
                    if now < deadline:
                        time.sleep(_PAUSE)
                        continue
                yield file, content, found, problem
                return

    def _give_up(self, problem: ImageError) -> None:
        """Half a file is made again from what nsrun knew. Raises ImageError when that was nothing."""
        if self._read_kept() is None:
            raise _unreadable(self._index, problem) from None
        logger.warning("%s cannot be read (%s): it is made again from what nsrun knew", self._index, problem)

    def _written_since(self, old: Fd | None, before: bytes | None, found: Sequence[Entry]) -> list[Entry]:
        """What somebody wrote into the file that was just replaced, having opened it before."""
        deadline = time.monotonic() + _PATIENCE
        while (content := _content(old)) is not None and content != before:
            try:
                return [entry for entry in _decode(content) if entry not in found]
            except ImageError:
                if time.monotonic() > deadline:
                    break  # they were killed in it
            time.sleep(_PAUSE)
        return []

    def _keep(self, entries: Sequence[Entry]) -> None:
        if self._read_kept() != list(entries):
            write_atomic(self._kept, _document(entries), durable=False)

    @contextmanager
    def _opened(self) -> Iterator[Fd | None]:
        try:
            file = Fd.open(self._index, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        with file:
            yield file

    def _read(self, path: Path) -> list[Entry]:
        """No entry while there is no file. Raises ImageError."""
        try:
            with Fd.open(path, os.O_RDONLY | os.O_NOFOLLOW) as file:
                return _decode(_content(file) or b"")
        except FileNotFoundError:
            return []
        except ImageError as error:
            raise _unreadable(path, error) from None

    def _read_kept(self) -> list[Entry] | None:
        """None when nsrun knows nothing."""
        try:
            return self._read(self._kept) if self._kept.exists() else None
        except ImageError:
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with Fd.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW) as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            yield


def merged(kept: Sequence[Entry], found: Sequence[Entry], has: Callable[[str], bool]) -> list[Entry]:
    """What counts of ``found`` in index.json and ``kept`` beside it. ``has``: whether a manifest is here. Pure."""
    names = {entry_name(entry) for entry in found}
    back = [entry for entry in found if is_ours(entry) and entry not in kept and not has(str(entry.get("digest")))]
    lost = [entry for entry in kept if entry_name(entry) not in names and has(str(entry.get("digest")))]
    return [entry for entry in found if entry not in back] + [entry for entry in lost if entry_name(entry) is not None]


def entry_name(entry: Entry) -> str | None:
    """The name as it is written there, None for an entry without one."""
    annotations = entry.get("annotations")
    name = annotations.get(NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def is_ours(entry: Entry) -> bool:
    """Whether nsrun wrote it."""
    annotations = entry.get("annotations")
    return isinstance(annotations, dict) and is_digest(str(annotations.get(SOURCE)))


def reference_of(entry: Entry) -> str | None:
    """The full name that an entry's stands for: ``nginx`` → ``docker.io/library/nginx:latest``; None without one."""
    try:
        return str(parse_reference(entry_name(entry) or ""))
    except ImageError:
        return None


def by_reference(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Entries by their full names. Whoever names an image removes what had the name before, if it is nsrun: of two the
    other's is the newer one."""
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=is_ours, reverse=True):
        name = reference_of(entry)
        if name is not None:
            found[name] = entry
    return found


def _with(entries: Sequence[Entry], late: Sequence[Entry]) -> list[Entry]:
    """``late`` take the place of what has their name."""
    names = {entry_name(entry) for entry in late} - {None}
    return [entry for entry in entries if entry not in late and entry_name(entry) not in names] + list(late)


def _sorted(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry_name(entry) or "", str(entry.get("digest"))))


def _document(entries: Sequence[Entry]) -> bytes:
    return json_text({"schemaVersion": 2, "mediaType": str(MediaType.OCI_INDEX), "manifests": list(entries)})


def _decode(data: bytes) -> list[Entry]:
    entries = parse(data, limit=_LIMIT).get("manifests")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ImageError("manifests is not a list of objects")
    return list(entries)


def _content(file: Fd | None) -> bytes | None:
    if file is None:
        return None
    content = b""
    while len(content) <= _LIMIT and (piece := os.pread(file.fileno(), 1 << 20, len(content))):
        content += piece
    return content


def _unreadable(path: Path, cause: ImageError) -> ImageError:
    return ImageError(
        f'cannot read "{path}": {cause}', reason="ImageInspectError", hint="nsrun store check --repair makes it again"
    )
