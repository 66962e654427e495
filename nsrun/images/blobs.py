"""Files named by their digest. A blob is in its place whole and verified, or not at all.

Written under another name, hashed on the way, fsynced, renamed. A blob whose digest is known beforehand is written
under a name that tells it, so that what a broken transfer or a dead process left is found again; who writes it has it
flock'ed.
Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path

from nsrun.errors import ImageError
from nsrun.images.digests import digest_of, new_hasher, split_digest
from nsrun.images.growth import BlobReader, Growth
from nsrun.support.atomic import sync_directory
from nsrun.support.fds import Fd

__all__ = ["BlobWriter", "Blobs", "is_partial"]

_SHA256 = "sha256:" + "0" * 64
_PARTIAL = ".partial"
_CHUNK = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_partial(name: str) -> bool:
    """Whether a file among those under way is the beginning of a blob, with which a later pull can go on."""
    return name.endswith(_PARTIAL)


class Blobs:
    """``<directory>/<algorithm>/<hex>``, and ``incoming`` for those under way (on the same file system)."""

    def __init__(self, *, directory: Path, incoming: Path) -> None:
        self._directory = directory
        self._incoming = incoming

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be. Raises ValueError for what is not a digest: it would become a path."""
        algorithm, encoded = split_digest(digest)
        return self._directory / algorithm / encoded

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is here; one of another size is not it."""
        try:
            return self.path(digest).stat().st_size == size
        except OSError:
            return False

    def read(self, digest: str, *, limit: int) -> bytes:
        """The blob's bytes, verified again. Raises ImageError (ImageInspectError), FileNotFoundError."""
        with Fd.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW) as fd, os.fdopen(fd.detach(), "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit or digest_of(data, like=digest) != digest:
            raise ImageError(
                f"the stored blob {digest} is damaged",
                reason="ImageInspectError",
                hint="remove the image, and pull it again",
            )
        return data

    def reader(self, digest: str) -> BlobReader:
        """Reads a blob that is here. Raises OSError."""
        return BlobReader(Fd.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW))

    def writer(self, digest: str = _SHA256) -> BlobWriter:
        """Begins a blob; only the algorithm of ``digest`` counts until ``commit``. Raises OSError."""
        temporary = self._incoming / secrets.token_hex(8)
        fd = Fd.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        fcntl.flock(fd.fileno(), fcntl.LOCK_EX)
        return BlobWriter(self, temporary, fd, digest)

    def continued(self, digest: str) -> BlobWriter:
        """Goes on with the blob ``digest``, which is kept when it is left halfway; call ``recall`` first. When another
        one is at it, it is begun beside. Raises OSError."""
        temporary = self._incoming / f"{digest.replace(':', '-')}{_PARTIAL}"
        fd = Fd.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(temporary, follow_symlinks=False).st_ino == os.fstat(fd.fileno()).st_ino:
                return BlobWriter(self, temporary, fd, digest, lasting=True)
        except (BlockingIOError, FileNotFoundError):
            pass  # busy; or renamed since by whoever had it
        fd.close()
        return self.writer(digest)

    def listed(self) -> frozenset[str]:
        """The digests of all blobs."""
        return frozenset(
            f"{algorithm.name}:{blob.name}" for algorithm in self._directory.iterdir() for blob in algorithm.iterdir()
        )

    def remove(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)


class BlobWriter:
    """A blob on its way in. As a context manager it leaves nothing behind unless it was committed, or is ``lasting``.

    ``offset``: bytes written so far. ``lasting``: a beginning is kept for whoever goes on with it.
    """

    def __init__(self, blobs: Blobs, temporary: Path, fd: Fd, digest: str, *, lasting: bool = False) -> None:
        self._blobs = blobs
        self._temporary = temporary
        self._digest = digest
        self._hasher = new_hasher(digest)
        self._fd = fd
        self._lasting = lasting
        self._growth = Growth()
        self.offset = 0

    def recall(self, limit: int) -> None:
        """Takes what an earlier transfer left, unless it is more than ``limit`` bytes. Raises OSError."""
        if os.fstat(self._fd.fileno()).st_size > limit:
            self.restart()
        while piece := os.pread(self._fd.fileno(), _CHUNK, self.offset):
            self._hasher.update(piece)
            self._advance(len(piece))
        os.lseek(self._fd.fileno(), self.offset, os.SEEK_SET)

    def write(self, chunk: bytes | memoryview) -> None:
        """Raises OSError."""
        view = memoryview(chunk)
        while view:
            try:
                written = os.write(self._fd.fileno(), view)
            except OSError as error:
                self._lasting = self._lasting and error.errno not in _FULL  # others need the room
                raise
            self._hasher.update(view[:written])
            self._advance(written)
            view = view[written:]

    def reader(self) -> BlobReader:
        """Reads what comes, while it comes; its end is there once ``commit`` was called. Raises OSError."""
        return BlobReader(Fd(os.dup(self._fd.fileno())), self._growth)

    def restart(self) -> None:
        """Forgets what was written. Raises OSError."""
        self._growth.restart()
        os.ftruncate(self._fd.fileno(), 0)
        os.lseek(self._fd.fileno(), 0, os.SEEK_SET)
        self._hasher = new_hasher(self._digest)
        self.offset = 0

    def digest(self) -> str:
        """The digest of what was written so far."""
        return f"{self._digest.partition(':')[0]}:{self._hasher.hexdigest()}"

    def commit(self) -> str:
        """Puts the blob in its place, under the digest it turned out to have. Raises OSError."""
        digest = self.digest()
        self._growth.end(whole=True)  # whoever reads it need not wait for the disk
        path = self._blobs.path(digest)
        os.fsync(self._fd.fileno())
        path.parent.mkdir(mode=0o700, exist_ok=True)
        os.rename(self._temporary, path)
        self._fd.close()
        sync_directory(path.parent)
        return digest

    def close(self) -> None:
        """Removes what was not committed, unless it lasts."""
        if self._fd.number < 0:
            return
        self._growth.end(whole=False)
        if not (self._lasting and self.offset):
            self._temporary.unlink(missing_ok=True)
        self._fd.close()

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _advance(self, count: int) -> None:
        self.offset += count
        self._growth.grow(self.offset)
