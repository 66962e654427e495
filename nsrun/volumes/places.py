"""Directories of volumes: below private parents, and complete as soon as they have their name."""

from __future__ import annotations

import os
from pathlib import Path

from nsrun.support.fds import Fd

__all__ = ["make_place", "make_private"]


def make_private(directory: Path) -> None:
    """The directory with its parents, 0700 each that is new. Raises OSError."""
    if directory.is_dir():
        return
    make_private(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)


def make_place(directory: Path, mode: int, *, uid: int = -1, gid: int = -1) -> bool:
    """Makes ``directory`` below private parents; False when it is there already, and then it is kept as it is.

    The umask takes bits from mkdir, and a chmod afterwards could be lost in a crash for ever, since what exists is
    kept: so the directory appears under its name with its mode and owner, or not at all. Raises OSError.
    """
    if directory.is_dir():
        return False
    make_private(directory.parent)
    unfinished = directory.with_name(f".{directory.name}.new")
    unfinished.mkdir(mode=0o700, exist_ok=True)
    with Fd.open(unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW) as opened:
        if (uid, gid) != (-1, -1):
            os.fchown(opened.fileno(), uid, gid)
        os.fchmod(opened.fileno(), mode)
    unfinished.rename(directory)
    return True
