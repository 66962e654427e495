"""The unpacked layers on disk, each once, named by its diff_id and shared by every image that has it.

    <root>/sha256/<hex>/diff/         the layer as overlayfs stacks it
    <root>/sha256/<hex>/layer.json    what is known of it, and by what overlayfs' marks in it begin; written last
    <root>/tmp/                       layers in the making, and on their way out

Everything above ``diff`` is 0700: set-user-ID programs of images are nothing that the users of this machine may run. A
layer appears by a rename, whole and verified, or not at all; when it is on the disk, ``settling`` tells.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import secrets
import stat
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nsrun.errors import ImageError, describe_errno
from nsrun.host.userns import own_user_namespace
from nsrun.images.digests import split_digest
from nsrun.images.growth import BlobReader
from nsrun.images.layerintake import DIRECTORY, LayerIntake, until_free
from nsrun.images.limits import DEFAULT_LIMITS, Limits
from nsrun.images.settling import is_lost, settle, unsettled
from nsrun.images.unpack import Unpacked
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.removal import remove_tree

__all__ = ["TRUSTED", "USER", "Layers", "read_rootfs_file"]

# Counts up when layers are laid out in another way; what an older version unpacked is then unpacked again.
FORMAT = 1
# Unpacking is bound by the processor: more at once would only keep more half-done.
AT_ONCE = 4
TRUSTED, USER = "trusted.overlay.", "user.overlay."


class Layers:
    """The directory of layers. Any number of calls, and of processes, may use it at once.

    ``_locks``: one for each diff_id that somebody is busy with, so that a layer is unpacked once.
    """

    def __init__(self, root: Path, *, limits: Limits = DEFAULT_LIMITS, xattr_prefix: str | None = None) -> None:
        """``xattr_prefix``: ``user.overlay.`` where overlays are mounted with userxattr, as they are in a child user
        namespace."""
        self._root = root
        self._limits = limits
        self._users = own_user_namespace()
        self._xattr_prefix = xattr_prefix or (TRUSTED if self._users is None else USER)
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._places = asyncio.Semaphore(AT_ONCE)
        # Threads of their own: they wait for blobs, and those who bring blobs must not wait for them.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="layer")
        self._prepared = False
        self.is_settled = True  # what was unpacked here is on the disk

    async def ensure(self, *, blob: Path, media_type: str, diff_id: str) -> Path:
        """The directory of the layer, unpacked from the file ``blob`` if it is not there yet.

        Raises ImageError: the layer is damaged, hostile or not what its diff_id says, or the disk refuses.
        """
        return await self.take(lambda: _open(blob), media_type=media_type, diff_id=diff_id)

    async def take(self, blob: Callable[[], BlobReader], *, media_type: str, diff_id: str) -> Path:
        """The same from a blob that may still be coming; it is opened if the layer is not there yet, and closed.

        Who else takes the same layer meanwhile, in this process or another, waits. Raises ImageError, MalformedLayer;
        ReadCancelled when the blob will never be whole.
        """
        _check(diff_id)
        async with self._lock(diff_id), self._places:
            while True:
                try:
                    return await self._in_thread(_Taking(blob), media_type, diff_id)
                except BlockingIOError:
                    await until_free(self._work(diff_id))

    async def settle(self, *, of_others: bool = False) -> None:
        """Waits until what was unpacked here is on the disk; ``of_others``: also by other processes. Raises OSError."""
        while of_others or not self.is_settled:
            of_others, self.is_settled = False, True
            await asyncio.to_thread(settle, self._root)

    async def has(self, diff_id: str) -> bool:
        """Whether the layer is there. Raises ImageError."""
        _check(diff_id)
        return bool(await asyncio.to_thread(self._read, diff_id))

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

    def check_marks(self) -> None:
        """Whether overlayfs will understand what is there. Blocks. Raises ImageError."""
        documents = filter(None, map(_document_in, self._root.glob("sha*/*")))
        by_user = next((document.get("marks", TRUSTED) == USER for document in documents), None)
        if by_user is None or by_user == (self._xattr_prefix == USER):
            return
        who, we = ("a user", "root") if by_user else ("root", "a user")
        raise ImageError(
            f'cannot use the layers in "{self._root}": they were unpacked by {who}, and what is hidden in them means '
            f"nothing to {we} (overlayfs keeps it in {'user' if by_user else 'trusted'}.*)",
            hint="choose another --root",
        )

    def _lock(self, diff_id: str) -> asyncio.Lock:
        return self._locks.setdefault(diff_id, asyncio.Lock())

    def _home(self, diff_id: str) -> Path:
        algorithm, encoded = split_digest(diff_id)
        return self._root / algorithm / encoded

    @property
    def _temporary(self) -> Path:
        return self._root / "tmp"

    def _work(self, diff_id: str) -> Path:
        return self._temporary / diff_id.replace(":", "-")

    async def _in_thread(self, taking: _Taking, media_type: str, diff_id: str) -> Path:
        """When the caller is cancelled, the work is, too, and its end awaited."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._take, taking, media_type, diff_id)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            taking.cancel()
            await asyncio.wait([future])
            future.exception()  # seen: the caller is gone
            raise

    # --- what follows blocks, and runs in threads

    def _take(self, taking: _Taking, media_type: str, diff_id: str) -> Path:
        """Raises BlockingIOError when another process is making it."""
        home = self._home(diff_id)
        try:
            self._prepare()
            if not self._read(diff_id):
                with LayerIntake.begin(self._work(diff_id)) as intake, taking.open() as blob:
                    if not self._read(diff_id):  # another process may have been faster
                        self._remove(diff_id)  # of another format, or lost
                        self._fill(intake, home, blob, media_type, diff_id)
        except BlockingIOError:
            raise
        except OSError as error:
            cause = describe_errno(error.errno or errno.EIO)
            raise ImageError(f"cannot unpack layer {diff_id[:19]}: {cause}") from error
        return home / "diff"

    def _fill(self, intake: LayerIntake, home: Path, blob: BlobReader, media_type: str, diff_id: str) -> None:
        done = intake.fill(
            blob,
            media_type=media_type,
            diff_id=diff_id,
            limits=self._limits,
            xattr_prefix=self._xattr_prefix,
            users=self._users,
        )
        intake.keep(home, _document(diff_id, done, marks=self._xattr_prefix, squashed=self._squashes))
        self.is_settled = False

    @property
    def _squashes(self) -> bool:
        """Whether root owns everything, for want of others."""
        return self._users is not None and self._users.is_single

    @contextmanager
    def _flock(self, directory: Path, how: int) -> Iterator[None]:
        with Fd.open(directory, DIRECTORY) as opened:
            fcntl.flock(opened.fileno(), how)
            yield

    def _prepare(self) -> None:
        """Once: makes the directories, removes what a crash left."""
        if self._prepared:
            return
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root.chmod(0o700)
        self._temporary.mkdir(mode=0o700, exist_ok=True)
        self.check_marks()
        for leftover in self._temporary.iterdir():
            # Another process may be at it, or was faster.
            with suppress(BlockingIOError, FileNotFoundError), self._flock(leftover, fcntl.LOCK_EX | fcntl.LOCK_NB):
                remove_tree(leftover)
        self._remove_lost()
        self._prepared = True

    def _remove_lost(self) -> None:
        for home in self._root.glob("sha*/*"):
            diff_id = f"{home.parent.name}:{home.name}"
            # Whoever makes it anew holds the lock.
            if is_lost(_document_in(home)):
                with suppress(BlockingIOError), LayerIntake.begin(self._work(diff_id)):
                    if is_lost(_document_in(home)):
                        self._remove(diff_id)

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
        """layer.json, empty when there is no such layer, or one of another format, or that the machine went down with,
        or one whose owners were lost and need not be."""
        document = _document_in(self._home(diff_id))
        return {} if is_lost(document) or (document.get("squashed") and not self._squashes) else document


def read_rootfs_file(layers: Sequence[Path], path: str, *, stage: Path, limit: int) -> bytes:
    """A file of the rootfs as a container would see it, empty when there is none. Blocks.

    ``layers``: topmost first. ``stage``: an empty host directory. Links are followed inside the rootfs only; what is no
    regular file, or is larger than ``limit`` bytes, is not read. Raises ImageError.
    """
    with ExitStack() as opened:
        try:
            fds = [opened.enter_context(Fd.open(layer, DIRECTORY)).fileno() for layer in layers]
            in_user = own_user_namespace() is not None
            file = opened.enter_context(native.open_in_rootfs(str(stage), fds, path, user_xattrs=in_user))
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


class _Taking:
    """A blob that is taken by a thread, and can be cancelled by another."""

    def __init__(self, blob: Callable[[], BlobReader]) -> None:
        self._blob = blob
        self._opened: BlobReader | None = None
        self._cancelled = False

    def open(self) -> BlobReader:
        self._opened = self._blob()
        if self._cancelled:
            self._opened.cancel()
        return self._opened

    def cancel(self) -> None:
        self._cancelled = True
        if self._opened is not None:
            self._opened.cancel()


def _open(blob: Path) -> BlobReader:
    return BlobReader(Fd.open(blob, os.O_RDONLY | os.O_NOFOLLOW))


def _check(diff_id: str) -> None:
    try:
        split_digest(diff_id)
    except ValueError as error:
        raise ImageError(f"cannot use layer: {error}") from None


def _document_in(home: Path) -> dict[str, object]:
    """Of our format, else empty."""
    try:
        document = json.loads((home / "layer.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return document if isinstance(document, dict) and document.get("format") == FORMAT else {}


def _document(diff_id: str, done: Unpacked, *, marks: str, squashed: bool) -> bytes:
    document = {"format": FORMAT, "diff_id": diff_id, "size": done.size, "entries": done.entries}
    document |= {"marks": marks} if marks != TRUSTED else {}
    document |= {"squashed": True} if squashed else {}
    return json.dumps(unsettled(document)).encode()


def _unreadable(path: str, cause: str) -> ImageError:
    return ImageError(f'cannot read "{path}" of the image: {cause}', reason="ImageInspectError")
