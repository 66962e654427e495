"""Trees of files, and the layers written from them."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfs.patterns import pattern_tree
from rootfs.recipes import RECIPES, SKELETON, Directory, File, Link, Pattern
from rootfs.tree import Node, package_tree, recipe_tree, write_tar


def test_layers_are_reproducible_and_in_order() -> None:
    files: dict[str, File | Directory | Link] = {
        "b/c": File(text="x", mode=0o755),
        "a": Directory(mode=0o1777),
        "b-": Link(target="a"),
    }
    tree = recipe_tree(files, 7)
    written = write_tar(tree)
    assert written == write_tar(dict(reversed(tree.items())))
    with tarfile.open(fileobj=io.BytesIO(written)) as archive:
        members = [(m.name, m.mode, m.mtime, m.uname) for m in archive]
    assert members == [("a", 0o1777, 7, ""), ("b", 0o755, 7, ""), ("b/c", 0o755, 7, ""), ("b-", 0o777, 7, "")]


def test_what_layers_can_hold_is_written_as_it_is() -> None:
    tree = {
        "a": Node(kind=tarfile.LNKTYPE, mode=0o644, target="z"),
        "b": Node(kind=tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
        "z": Node(kind=tarfile.REGTYPE, mode=0o4755, data=b"x", records={"SCHILY.xattr.user.a": "1", "mtime": "7.5"}),
    }
    with tarfile.open(fileobj=io.BytesIO(write_tar(tree))) as archive:
        device, file, link = archive.getmembers()
    assert (link.name, link.type, link.linkname) == ("a", tarfile.LNKTYPE, "z")
    assert (device.name, device.devmajor, device.devminor) == ("b", 1, 3)
    assert (file.name, file.mode, file.pax_headers) == ("z", 0o4755, {"SCHILY.xattr.user.a": "1", "mtime": "7.5"})


@pytest.mark.parametrize("pattern", [Pattern(name="many files", number=400), Pattern(name="one of sixty", number=19)])
def test_patterns_are_reproducible_and_whole(pattern: Pattern) -> None:
    tree = pattern_tree(pattern)
    assert write_tar(tree) == write_tar(pattern_tree(pattern))
    assert all(tree[node.target].kind != tarfile.LNKTYPE for node in tree.values() if node.kind == tarfile.LNKTYPE)
    assert all(path.rpartition("/")[0] in tree for path in tree if "/" in path)


def test_many_files_are_as_many_as_they_are_said_to_be() -> None:
    tree = pattern_tree(Pattern(name="many files", number=400))
    assert sum(node.kind != tarfile.DIRTYPE for node in tree.values()) == 400


def test_packages_lose_what_nobody_needs_and_are_merged_into_usr(tmp_path: Path, tool: Callable[[str], str]) -> None:
    source = tmp_path / "source"
    for name in ("DEBIAN/control", "bin/sh", "usr/share/doc/p/copyright", "usr/share/doc/p/README", "usr/share/man/x"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("")
    (source / "bin" / "hard").hardlink_to(source / "bin" / "sh")
    control = "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@example.org>\nDescription: d\n"
    (source / "DEBIAN" / "control").write_text(control)
    subprocess.run([tool("dpkg-deb"), "--build", source, tmp_path / "p.deb"], check=True, capture_output=True)
    tree = package_tree(tmp_path / "p.deb")
    assert {path: node.kind for path, node in tree.items() if node.kind != tarfile.DIRTYPE} == {
        "usr/bin/hard": tarfile.REGTYPE,
        "usr/bin/sh": tarfile.LNKTYPE,
        "usr/share/doc/p/copyright": tarfile.REGTYPE,
    }
    assert tree["usr/bin/sh"].target == "usr/bin/hard"
    assert "usr/share/man" not in tree


def test_every_image_has_what_containers_expect() -> None:
    assert set(RECIPES) == {"busybox", "nginx"}
    for recipe in RECIPES.values():
        assert recipe.reference.startswith("docker.io/library/")
        assert SKELETON.items() <= recipe.layers[0].files.items() | {("usr/bin/sh", Link(target="dash"))}
    assert recipe_tree(SKELETON, 0)["tmp"] == Node(kind=tarfile.DIRTYPE, mode=0o1777)
