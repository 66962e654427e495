"""Files named by their digest. A blob is in its place whole and verified, or not at all.

Written under another name, hashed on the way, fsynced, renamed. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from nsrun.errors import ImageError
from nsrun.images.digests import digest_of, new_hasher, split_digest
from nsrun.support.atomic import sync_directory
from nsrun.support.fds import Fd

__all__ = ["BlobWriter", "Blobs"]

_SHA256 = "sha256:" + "0" * 64


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

    def writer(self, digest: str = _SHA256) -> BlobWriter:
        """Begins a blob; only the algorithm of ``digest`` counts until ``commit``. Raises OSError."""
        return BlobWriter(self, self._incoming / secrets.token_hex(8), digest)

    def listed(self) -> frozenset[str]:
        """The digests of all blobs."""
        return frozenset(
            f"{algorithm.name}:{blob.name}" for algorithm in self._directory.iterdir() for blob in algorithm.iterdir()
        )

    def remove(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)


class BlobWriter:
    """A blob on its way in. As a context manager it leaves nothing behind unless it was committed.

    ``offset``: bytes written so far.
    """

    def __init__(self, blobs: Blobs, temporary: Path, digest: str) -> None:
        self._blobs = blobs
        self._temporary = temporary
        self._digest = digest
        self._hasher = new_hasher(digest)
        self._fd = Fd.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        self.offset = 0

    def write(self, chunk: bytes | memoryview) -> None:
        """Raises OSError."""
        self._hasher.update(chunk)
        view = memoryview(chunk)
        while view:
            written = os.write(self._fd.fileno(), view)
            self.offset += written
            view = view[written:]

    def restart(self) -> None:
        """Forgets what was written. Raises OSError."""
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
        path = self._blobs.path(digest)
        os.fsync(self._fd.fileno())
        self._fd.close()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        os.rename(self._temporary, path)
        sync_directory(path.parent)
        return digest

    def close(self) -> None:
        """Removes what was not committed."""
        self._fd.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
