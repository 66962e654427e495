"""Files that are either the old ones or the new ones, also after a crash: tmp + fsync + rename."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["sync_directory", "write_atomic"]


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replaces ``path`` with ``data`` in one step. ``durable=False``: no fsyncs, for files that die with the boot.

    Raises OSError; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            os.fchmod(fd, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # write(2) knows only a number; whoever tells the error wants the name
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes renames in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
