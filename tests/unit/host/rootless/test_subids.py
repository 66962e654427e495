from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nsrun.host.rootless import subids
from nsrun.host.rootless.subids import parse_getsubids, parse_subids, uses_service
from nsrun.support.idranges import IdRange


def ranges(*pairs: tuple[int, int]) -> tuple[IdRange, ...]:
    return tuple(IdRange(first=first, count=count) for first, count in pairs)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("me:100000:65536\n", [(100000, 65536)]),
        ("1000:100000:65536\n", [(100000, 65536)]),
        ("me:1:2\nyou:3:4\n1000:5:6\n", [(1, 2), (5, 6)]),
        ("  me : 100000 : 65536  \n", [(100000, 65536)]),
        ("# me:1:2\n\nme:3:4", [(3, 4)]),
        ("me:1:0\nme:-1:5\nme:0x10:5\nme:1\nme:1:2:3\nme::\nme:¹:2\n", []),
        ("me:4294967294:1\n", [(4294967294, 1)]),
        ("me:4294967294:2\n", []),
        ("me:99999999999999999999:1\n", []),
        ("", []),
        ("meme:1:2\n10000:1:2\n", []),
    ],
)
def test_lines_of_the_files(text: str, wanted: list[tuple[int, int]]) -> None:
    assert parse_subids(text, name="me", uid=1000) == ranges(*wanted)


@given(some.text(max_size=200))
def test_no_text_is_too_odd(text: str) -> None:
    for found in parse_subids(text, name="me", uid=1000):
        assert found.count > 0
        assert found.first + found.count <= 2**32 - 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0: me 100000 65536\n1: me 300000 10\n", [(100000, 65536), (300000, 10)]),
        ("Error fetching ranges\n", []),
        ("", []),
    ],
)
def test_what_getsubids_says(text: str, wanted: list[tuple[int, int]]) -> None:
    assert parse_getsubids(text) == ranges(*wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("subid: sss\n", True),
        ("passwd: files\nsubid:  sss files # a comment\n", True),
        ("subid: files\n", False),
        ("# subid: sss\n", False),
        ("subid:\n", False),
        ("passwd: files\n", False),
    ],
)
def test_who_is_asked(text: str, wanted: bool) -> None:
    assert uses_service(text) is wanted


def test_the_service_is_asked_by_name_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, stdout="0: me 7 8\n")

    monkeypatch.setattr(subids, "_read", lambda path: "subid: sss\n")
    monkeypatch.setattr("shutil.which", lambda name, path: "/usr/bin/getsubids")
    monkeypatch.setattr("subprocess.run", run)

    assert subids.subordinate_ids("uid", name="me", uid=1000) == ranges((7, 8))
    assert subids.subordinate_ids("gid", name="me", uid=1000) == ranges((7, 8))
    assert asked == [["/usr/bin/getsubids", "me"], ["/usr/bin/getsubids", "-g", "me"]]
