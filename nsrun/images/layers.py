"""The unpacked layers on disk, each once, named by its diff_id and shared by every image that has it.

    <root>/sha256/<hex>/diff/         the layer as overlayfs stacks it
    <root>/sha256/<hex>/layer.json    what is known of it; written last
    <root>/tmp/                       layers in the making, and on their way out

Everything above ``diff`` is 0700: set-user-ID programs of images are nothing that the users of this machine may run. A
layer appears by a rename, whole and verified and on the disk, or not at all.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import secrets
import stat
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from nsrun.errors import ImageError, describe_errno
from nsrun.images.digests import split_digest
from nsrun.images.limits import DEFAULT_LIMITS, Limits
from nsrun.images.unpack import Unpacked, unpack_layer
from nsrun.support import native
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd
from nsrun.support.removal import remove_tree

__all__ = ["Layers", "read_rootfs_file"]

# Counts up when layers are laid out in another way; what an older version unpacked is then unpacked again.
FORMAT = 1
# Unpacking is bound by the processor, and by Python's one lock: more at once would only keep more half-done.
AT_ONCE = 4

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_Result = TypeVar("_Result")


class Layers:
    """The directory of layers. Any number of calls, and of processes, may use it at once.

    ``_locks``: one for each diff_id that somebody is busy with, so that a layer is unpacked once.
    """

    def __init__(self, root: Path, *, limits: Limits = DEFAULT_LIMITS, xattr_prefix: str = "trusted.overlay.") -> None:
        """``xattr_prefix``: ``user.overlay.`` where overlays are mounted with userxattr."""
        self._root = root
        self._limits = limits
        self._xattr_prefix = xattr_prefix
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._prepared = False

    async def ensure(self, *, blob: Path, media_type: str, diff_id: str) -> Path:
        """The directory of the layer, unpacked from ``blob`` if it is not there yet.

        Raises ImageError: the layer is damaged, hostile or not what its diff_id says, or the disk refuses.
        """
        _check(diff_id)
        async with self._lock(diff_id), self._places:
            cancelled = threading.Event()
            return await _in_thread(lambda: self._ensure(blob, media_type, diff_id, cancelled.is_set), cancelled.set)

    async def remove(self, diff_id: str) -> None:
        """Removes the layer, which no container may use any more; fine when it is not there. Raises ImageError."""
        _check(diff_id)
        async with self._lock(diff_id):
            await asyncio.to_thread(self._remove, diff_id)

    async def list(self) -> tuple[str, ...]:
        """The diff_ids of the layers that are there, sorted."""
        return await asyncio.to_thread(self._list)

    async def size(self, diff_id: str) -> int:
        """Bytes in the layer's files; 0 when it is not there."""
        _check(diff_id)
        document = await asyncio.to_thread(self._read, diff_id)
        size = document.get("size", 0)
        return size if isinstance(size, int) else 0

    def path(self, diff_id: str) -> Path:
        """Where the layer's files are, or would be. Raises ImageError when this is no diff_id."""
        _check(diff_id)
        return self._home(diff_id) / "diff"

    def _lock(self, diff_id: str) -> asyncio.Lock:
        return self._locks.setdefault(diff_id, asyncio.Lock())

    def _home(self, diff_id: str) -> Path:
        algorithm, encoded = split_digest(diff_id)
        return self._root / algorithm / encoded

    @property
    def _temporary(self) -> Path:
        return self._root / "tmp"

    # --- what follows blocks, and runs in threads

    def _ensure(self, blob: Path, media_type: str, diff_id: str, cancelled: Callable[[], bool]) -> Path:
        home = self._home(diff_id)
        try:
            self._prepare()
            if not self._read(diff_id):
                self._remove(diff_id)  # of another format
                self._make(home, blob, media_type, diff_id, cancelled)
        except OSError as error:
            cause = describe_errno(error.errno or errno.EIO)
            raise ImageError(f"cannot unpack layer {diff_id[:19]}: {cause}") from error
        return home / "diff"

    def _make(self, home: Path, blob: Path, media_type: str, diff_id: str, cancelled: Callable[[], bool]) -> None:
        with self._workplace(home.name) as work:
            os.mkdir(work / "diff", 0o755)
            with Fd.open(blob, os.O_RDONLY | os.O_NOFOLLOW) as source, Fd.open(work / "diff", _DIRECTORY) as root:
                done = unpack_layer(
                    source.fileno(),
                    root.fileno(),
                    media_type=media_type,
                    diff_id=diff_id,
                    limits=self._limits,
                    xattr_prefix=self._xattr_prefix,
                    cancelled=cancelled,
                )
                write_atomic(work / "layer.json", _document(diff_id, done), durable=False)
                native.syncfs(root.fileno())
            home.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                os.rename(work, home)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process was faster
                    raise

    @contextmanager
    def _workplace(self, name: str) -> Iterator[Path]:
        """A private directory, gone at the end unless it was renamed; flock'ed, so nobody takes it for left over."""
        work = self._temporary / f"{name}.{secrets.token_hex(4)}"
        with ExitStack() as held:
            with self._flock(self._temporary, fcntl.LOCK_SH):
                os.mkdir(work, 0o700)
                held.enter_context(self._flock(work, fcntl.LOCK_EX))
            try:
                yield work
            finally:
                remove_tree(work)

    @contextmanager
    def _flock(self, directory: Path, how: int) -> Iterator[None]:
        with Fd.open(directory, _DIRECTORY) as opened:
            fcntl.flock(opened.fileno(), how)
            yield

    def _prepare(self) -> None:
        """Once: makes the directories, removes what a crash left."""
        if self._prepared:
            return
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root.chmod(0o700)
        self._temporary.mkdir(mode=0o700, exist_ok=True)
        with self._flock(self._temporary, fcntl.LOCK_EX):
            for leftover in self._temporary.iterdir():
                try:
                    with self._flock(leftover, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        remove_tree(leftover)
                except BlockingIOError:
                    continue  # another process is at it
        self._prepared = True

    def _remove(self, diff_id: str) -> None:
        grave = self._temporary / f"removed.{secrets.token_hex(4)}"
        try:
            os.rename(self._home(diff_id), grave)
            remove_tree(grave)
        except FileNotFoundError:
            return
        except OSError as error:
            cause = describe_errno(error.errno or errno.EIO)
            raise ImageError(f"cannot remove layer {diff_id[:19]}: {cause}") from error

    def _list(self) -> tuple[str, ...]:
        found = (f"{home.parent.name}:{home.name}" for home in self._root.glob("sha*/*"))
        return tuple(sorted(diff_id for diff_id in found if self._read(diff_id)))

    def _read(self, diff_id: str) -> dict[str, object]:
        """layer.json, empty when there is no such layer, or one of another format."""
        try:
            document = json.loads((self._home(diff_id) / "layer.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return document if isinstance(document, dict) and document.get("format") == FORMAT else {}


def read_rootfs_file(layers: Sequence[Path], path: str, *, stage: Path, limit: int) -> bytes:
    """A file of the rootfs as a container would see it, empty when there is none. Blocks.

    ``layers``: topmost first. ``stage``: an empty host directory. Links are followed inside the rootfs only; what is no
    regular file, or is larger than ``limit`` bytes, is not read. Raises ImageError.
    """
    with ExitStack() as opened:
        try:
            fds = [opened.enter_context(Fd.open(layer, _DIRECTORY)).fileno() for layer in layers]
            file = opened.enter_context(native.open_in_rootfs(str(stage), fds, path))
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            raise _unreadable(path, describe_errno(error.errno or errno.EIO)) from error
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(path, "it is no regular file")
        content = b""
        while len(content) <= limit and (piece := os.read(file.fileno(), limit + 1 - len(content))):
            content += piece
    if len(content) > limit:
        raise _unreadable(path, f"it is larger than {limit} bytes")
    return content


async def _in_thread(work: Callable[[], _Result], cancel: Callable[[], None]) -> _Result:
    """Runs ``work`` in a thread; when the caller is cancelled, ``cancel`` is called and the end of the work awaited."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        cancel()
        await asyncio.wait([future])
        future.exception()  # seen: the caller is gone
        raise


def _check(diff_id: str) -> None:
    try:
        split_digest(diff_id)
    except ValueError as error:
        raise ImageError(f"cannot use layer: {error}") from None


def _document(diff_id: str, done: Unpacked) -> bytes:
    document = {"format": FORMAT, "diff_id": diff_id, "size": done.size, "entries": done.entries}
    return json.dumps(document).encode()


def _unreadable(path: str, cause: str) -> ImageError:
    return ImageError(f'cannot read "{path}" of the image: {cause}', reason="ImageInspectError")
