"""Bytes on disk of a tree."""

from __future__ import annotations

import os
from pathlib import Path

from nsrun.support.disk_usage import TreeUse, disk_usage, tree_use


def blocks(*paths: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in paths)


def test_nothing_there(tmp_path: Path) -> None:
    assert disk_usage(tmp_path / "no") == 0
    assert tree_use(tmp_path / "no") == TreeUse(bytes=0, inodes=0)


def test_files_links_and_directories(tmp_path: Path) -> None:
    """Holes take nothing, a second name takes nothing, and no link is followed."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/data").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "a/b/data", tmp_path / "a/again")
    with (tmp_path / "hole").open("wb") as hole:
        hole.truncate(1 << 30)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "big").write_bytes(b"x" * 1_000_000)
    (tmp_path / "link").symlink_to(outside)
    os.mkfifo(tmp_path / "fifo")
    expected = blocks(tmp_path, *(tmp_path / name for name in ("a", "a/b", "a/b/data", "hole", "link", "fifo")))
    assert disk_usage(tmp_path) == expected
    assert tree_use(tmp_path) == TreeUse(bytes=expected, inodes=7)
    assert 100_000 <= expected < 300_000


def test_deeper_than_any_path(tmp_path: Path) -> None:
    """A tree that no path reaches to the end, with a file at its end, and few descriptors."""
    top = here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d" * 20, dir_fd=here)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        if here != top:
            os.close(here)
        here = below
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, b"x" * 50_000)
    os.fsync(file)
    before = len(os.listdir("/proc/self/fd"))
    assert disk_usage(tmp_path) >= os.fstat(file).st_blocks * 512 >= 50_000
    assert len(os.listdir("/proc/self/fd")) == before
    for fd in (file, here, top):
        os.close(fd)
