"""A layer in the making: a private directory, named by its diff_id and flock'ed by whoever makes it.

    <tmp>/<algorithm>-<hex>/diff/         what was unpacked so far
    <tmp>/<algorithm>-<hex>/layer.json    what is known of it

So it is made once, by however many processes; what a dead one left is cleared away by the next, and a rename puts it
into its place. Everything here but ``until_free`` blocks: call it in a thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from nsrun.host.userns import UserNamespace
from nsrun.images.growth import BlobReader, Restarted
from nsrun.images.limits import Limits
from nsrun.images.unpack import Unpacked, unpack_layer
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd
from nsrun.support.removal import remove_tree

__all__ = ["DIRECTORY", "LayerIntake", "until_free"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class LayerIntake:
    """The right to make one layer, and the directory for it. Use it as a context manager: what was not kept is gone."""

    def __init__(self, work: Path, lock: Fd) -> None:
        self._work = work
        self._lock = lock

    @classmethod
    def begin(cls, work: Path) -> Self:
        """Raises BlockingIOError when another one is making it (``until_free``), OSError."""
        while True:
            work.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):
                lock = Fd.open(work, DIRECTORY)
                fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.stat(work, follow_symlinks=False).st_ino == os.fstat(lock.fileno()).st_ino:
                    made = cls(work, lock)
                    made._clear()  # of what a dead process left
                    return made

    def fill(
        self,
        blob: BlobReader,
        *,
        media_type: str,
        diff_id: str,
        limits: Limits,
        xattr_prefix: str,
        users: UserNamespace | None = None,
    ) -> Unpacked:
        """Unpacks the blob and verifies what came out. Raises ImageError, OSError, ReadCancelled."""
        while True:
            os.mkdir(self._work / "diff", 0o755)
            try:
                with Fd.open(self._work / "diff", DIRECTORY) as root:
                    return unpack_layer(
                        blob,
                        root.fileno(),
                        media_type=media_type,
                        diff_id=diff_id,
                        limits=limits,
                        xattr_prefix=xattr_prefix,
                        users=users,
                    )
            except Restarted:
                self._clear()
                blob.rewind()

    def keep(self, home: Path, document: bytes) -> None:
        """Puts the layer into its place, with ``document`` as layer.json. Raises OSError."""
        write_atomic(self._work / "layer.json", document, durable=False)
        home.parent.mkdir(mode=0o700, exist_ok=True)
        os.rename(self._work, home)

    def close(self) -> None:
        with self._lock:
            if self._is_ours():
                remove_tree(self._work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _clear(self) -> None:
        for name in os.listdir(self._work):
            remove_tree(self._work / name)

    def _is_ours(self) -> bool:
        """Not when it was kept, after which another one may have begun the same anew."""
        try:
            return os.stat(self._work, follow_symlinks=False).st_ino == os.fstat(self._lock.fileno()).st_ino
        except FileNotFoundError:
            return False


async def until_free(work: Path) -> None:
    """Waits until nobody makes this layer. Raises OSError."""
    try:
        lock = Fd.open(work, DIRECTORY)
    except FileNotFoundError:
        return
    loop, free = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        with lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        with suppress(RuntimeError):  # nobody waits any more, and the loop is closed
            loop.call_soon_threadsafe(free.set)

    threading.Thread(target=wait, daemon=True, name="layer-lock").start()  # flock cannot be told to stop waiting
    await free.wait()
