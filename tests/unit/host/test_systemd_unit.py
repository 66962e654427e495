from __future__ import annotations

from pathlib import Path

import pytest

from nsrun.host.systemd_unit import Unit, parse_version, quoted, unit_directory


def test_a_users_unit() -> None:
    text = Unit(words=("/opt/nsrun", "--manifests", "/home/me/pods"), user=True, delegates=True).text
    assert "ExecStart=/opt/nsrun --manifests /home/me/pods\n" in text
    assert "KillMode=process\n" in text
    assert "Delegate=yes\nDelegateSubgroup=supervisor\n" in text
    assert "WantedBy=default.target\n" in text
    assert "network-online" not in text


def test_a_manager_that_cannot_keep_out_of_what_lives_on() -> None:
    assert "Delegate" not in Unit(words=("/opt/nsrun",), user=True).text


def test_the_systems_unit() -> None:
    text = Unit(words=("/opt/nsrun",), user=False, delegates=True).text
    assert "Delegate" not in text
    assert "After=network-online.target\n" in text
    assert "WantedBy=multi-user.target\n" in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("/a/b", "--x=1"), "/a/b --x=1"),
        (("/a", "my pods"), '/a "my pods"'),
        (("/a", "100%"), "/a 100%%"),
        (("/a", "$HOME"), '/a "$$HOME"'),
        (("/a", 'a"b\\c'), '/a "a\\"b\\\\c"'),
        (("/a", ""), '/a ""'),
        (("/a", "one\ntwo"), '/a "one\\ntwo"'),
    ],
)
def test_words_are_read_as_they_are(words: tuple[str, ...], line: str) -> None:
    assert quoted(words) == line


@pytest.mark.parametrize(
    ("text", "version"), [("systemd 252 (252.38-1~deb12u1)\n+PAM", 252), ("systemd 257", 257), ("", 0)]
)
def test_versions(text: str, version: int) -> None:
    assert parse_version(text) == version


def test_where_units_are() -> None:
    assert unit_directory(user=False, home="/root") == Path("/etc/systemd/system")
    assert unit_directory(user=True, home="/h") == Path("/h/.config/systemd/user")
    assert unit_directory(user=True, home="/h", config="/c") == Path("/c/systemd/user")
    assert unit_directory(user=True, home="/h", config="odd") == Path("/h/.config/systemd/user")
