"""Which paths may be in a volume, and what several sources make together."""

from __future__ import annotations

import pytest

from nsrun.errors import VolumeError
from nsrun.volumes.payload import File, check_paths, merged


def file(text: str = "x", mode: int = 0o644) -> File:
    return File(data=text.encode(), mode=mode)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is not relative"),
        ("..", 'contains ".."'),
        ("../x", 'contains ".."'),
        ("a/../../x", 'contains ".."'),
        ("a/..", 'contains ".."'),
        ("..data", 'starts with ".."'),
        ("..data/x", 'starts with ".."'),
        ("..data_tmp", 'starts with ".."'),
        ("a//b", "is not in its shortest form"),
        ("./a", "is not in its shortest form"),
        ("a/", "is not in its shortest form"),
        ("a\0b", "is not in its shortest form"),
        ("a" * 256, "is too long"),
        ("ä" * 128, "is too long"),
        ("a/" * 2048 + "a", "is too long"),
    ],
)
def test_paths_that_may_not_be(path: str, problem: str) -> None:
    with pytest.raises(VolumeError) as raised:
        check_paths({path: file()})
    assert str(raised.value) == f'path "{path}" {problem}'


def test_paths_that_may_be() -> None:
    check_paths({path: file() for path in ("a", ".hidden", "a..b", "b/..c", "b/...", "c/d/e", "ä" * 127, "a" * 255)})


def test_a_file_is_no_directory_for_another() -> None:
    with pytest.raises(VolumeError, match='path "a/b" is a file, and a directory for "a/b/c"'):
        check_paths({"a/b/c": file(), "a/b": file()})
    check_paths({"a/b": file(), "a/b-c": file()})


def test_later_sources_win_and_are_told() -> None:
    files, twice = merged([{"a": file("1"), "b": file("1")}, {"a": file("2")}, {"a": file("3"), "c": file("3")}])
    assert {path: found.data for path, found in files.items()} == {"a": b"3", "b": b"1", "c": b"3"}
    assert twice == ["a"]


def test_content_is_not_printed() -> None:
    assert repr(file("password", 0o400)) == "File(8 bytes, 0400)"
