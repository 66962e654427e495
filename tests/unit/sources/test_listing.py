"""Which files count, and that none of them can hold the reader up."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nsrun.model.document import MAX_BYTES
from nsrun.sources.listing import Unreadable, list_manifests, read_manifest


def test_which_entries_are_manifests(tmp_path: Path) -> None:
    others = ("#a.yaml#", "README", "a.yaml.bak", "a.yaml~")
    for name in ("a.yaml", "b.yml", "c.json", ".hidden.yaml", ".a.yaml.swp", *others):
        (tmp_path / name).write_text("x")
    (tmp_path / "sub.yaml").mkdir()
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    (tmp_path / "nowhere.yaml").symlink_to("nothing")
    os.mkfifo(tmp_path / "fifo.yaml")
    found = list_manifests(str(tmp_path))
    assert [file.name for file in found.files] == ["a.yaml", "b.yml", "c.json", "link.yaml", "nowhere.yaml"]
    assert [file.linked for file in found.files] == [False, False, False, True, True]
    assert {os.path.basename(path): reason for path, reason, _ in found.skipped} == {
        **dict.fromkeys(others, "skipped, its name does not end in .yaml, .yml or .json"),
        "fifo.yaml": "skipped, it is not a regular file",
        "sub.yaml": "skipped, it is a directory",
    }


def test_a_path_may_be_a_file_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "pod").write_text("x")
    assert [file.path for file in list_manifests(str(tmp_path / "pod")).files] == [str(tmp_path / "pod")]


def test_a_path_may_be_missing(tmp_path: Path) -> None:
    assert list_manifests(str(tmp_path / "nothing")).missing
    (tmp_path / "file").write_text("")
    assert list_manifests(str(tmp_path / "file" / "below")).missing


def test_a_path_may_not_be_anything_else(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Unreadable, match="must be a directory or a regular file"):
        list_manifests(str(tmp_path / "fifo"))


def test_a_path_that_cannot_be_looked_at(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(Unreadable, match=r"cannot read: .*\(ELOOP\)"):
        list_manifests(str(loop))


def test_a_fifo_does_not_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(Unreadable, match="it is not a regular file"):
        read_manifest(str(tmp_path / "a.yaml"))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "a.yaml"))
        with pytest.raises(Unreadable, match=r"cannot read: .*\(ENXIO\)"):
            read_manifest(str(tmp_path / "a.yaml"))


def test_no_more_is_read_than_a_manifest_may_hold(tmp_path: Path) -> None:
    with open(tmp_path / "a.yaml", "wb") as file:
        file.truncate(1 << 40)
    assert len(read_manifest(str(tmp_path / "a.yaml"))) == MAX_BYTES + 1


def test_a_file_that_changes_under_the_reader_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one")
    real = os.read

    def read(fd: int, length: int) -> bytes:
        with open(path, "a") as file:
            file.write("more")
        return real(fd, length)

    monkeypatch.setattr(os, "read", lambda fd, length: read(fd, length) if path.stat().st_size < 10 else b"")
    with pytest.raises(Unreadable) as caught:
        read_manifest(str(path))
    assert caught.value.busy


def test_a_reader_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x")
    os.mkfifo(tmp_path / "b.yaml")
    before = os.listdir("/proc/self/fd")
    read_manifest(str(tmp_path / "a.yaml"))
    with pytest.raises(Unreadable):
        read_manifest(str(tmp_path / "b.yaml"))
    assert os.listdir("/proc/self/fd") == before
