"""remove_tree: everything below a path, and nothing else."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from nsrun.support import removal
from nsrun.support.fds import Fd
from nsrun.support.removal import remove_tree


def test_missing_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "none")
    remove_tree(tmp_path / "none" / "below")


def test_a_whole_tree(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_text("x")
    (tree / "a" / "b" / "file").write_text("x")
    os.mkfifo(tree / "fifo")
    remove_tree(tree)
    assert list(tmp_path.iterdir()) == []


def test_a_file_and_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    remove_tree(tmp_path / "link")
    assert (tmp_path / "file").read_text() == "x"
    remove_tree(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "kept").mkdir(parents=True)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "directory").symlink_to(victim)
    (tree / "up").symlink_to("..")
    remove_tree(tree)
    assert (victim / "kept").is_dir()
    assert not tree.exists()


def test_a_directory_that_became_a_link_is_not_entered(tmp_path: Path) -> None:
    """It was a directory when it was listed; whoever still writes there put a link in its place."""
    victim, tree = tmp_path / "victim", tmp_path / "tree"
    (victim / "kept").mkdir(parents=True)
    tree.mkdir()
    (tree / "name").symlink_to(victim)
    with Fd.open(tree, os.O_RDONLY) as top:
        removal._remove_directory(top, "name", top, mount=removal._mount_id(top), depth=0)
    assert (victim / "kept").is_dir()
    assert list(tree.iterdir()) == []


def test_deeper_than_descriptors_reach(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_PATH)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_PATH, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(tree)
    assert not tree.exists()


@pytest.mark.root
@pytest.mark.parametrize("where", ["tree", "tree/a/mounted"])
def test_mounts_are_not_crossed(tmp_path: Path, where: str) -> None:
    """Also a bind mount of the same file system, which st_dev does not tell."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_text("x")
    target = tmp_path / where
    target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(victim), str(target)], check=True)
    try:
        with pytest.raises(OSError) as caught:
            remove_tree(tmp_path / "tree")
        assert caught.value.errno == errno.EBUSY
        assert (victim / "kept").read_text() == "x"
    finally:
        subprocess.run(["umount", str(target)], check=True)
    remove_tree(tmp_path / "tree")
    assert (victim / "kept").read_text() == "x"
    assert not (tmp_path / "tree").exists()
