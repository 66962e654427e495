"""Tokens, certificates, and whose they are."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from nsrun.api.authentication import Authentication
from nsrun.api.users import ANONYMOUS, TokenFile, User, certified, made_token, parse_tokens
from nsrun.errors import ApiError


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def test_a_token_file() -> None:
    content = 'abc,ann,1,"system:masters, other"\n\nxyz , bob,2,single\nplain,carl,3\nquoted,"d,e",4,""\n'
    assert parse_tokens(content, name="t") == {
        digest("abc"): User(name="ann", groups=frozenset({"system:masters", "other"})),
        digest("xyz"): User(name="bob", groups=frozenset({"single"})),
        digest("plain"): User(name="carl"),
        digest("quoted"): User(name="d,e"),
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("abc,ann\n", 'line 1 is not: token,user,uid,"group1,group2"'),
        ("a,b,c\n,ann,1\n", "line 2 is not"),
        ("abc, ,1\n", "line 1 is not"),
        ('abc,"ann,1\n', "unexpected end of data"),
        ("abc,ann,1\nabc,bob,2\n", "the token of line 2 was there before"),
    ],
)
def test_a_token_file_that_makes_no_sense(content: str, said: str) -> None:
    with pytest.raises(ApiError) as told:
        parse_tokens(content, name="t")
    assert told.value.message.startswith('cannot use "t": ')
    assert said in told.value.message
    assert "abc" not in told.value.message, "tokens are secrets"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff,a,1\n", "it is not UTF-8"), (b"x" * (1 << 20) + b"xx", "more than 1048576 bytes"), (None, "No such file")],
)
def test_a_token_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "t"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ApiError, match=said):
        TokenFile(path)


def test_tokens_are_what_the_file_says_now(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t"
    path.write_text("abc,ann,1\n")
    tokens = TokenFile(path)
    assert tokens.user("abc") == User(name="ann")
    assert tokens.user("ABC") is None
    path.write_text("new,bob,1\n")
    assert (tokens.user("abc"), tokens.user("new")) == (None, User(name="bob"))
    path.unlink()
    assert tokens.user("new") == User(name="bob")
    assert tokens.user("new") == User(name="bob")
    assert caplog.text.count("Tokens stay as they were") == 1


def test_tokens_that_were_written_twice_within_a_tick(tmp_path: Path) -> None:
    """The file is the same by size and times; a time to come is as young as one of this tick."""
    path, soon = tmp_path / "t", time.time_ns() + 3600 * 10**9
    path.write_text("abc,ann,1\n")
    os.utime(path, ns=(soon, soon))
    tokens = TokenFile(path)
    path.write_text("new,bob,1\n")
    os.utime(path, ns=(soon, soon))
    assert (tokens.user("abc"), tokens.user("new")) == (None, User(name="bob"))


def test_a_made_token_is_the_owners_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "api" / "token.csv"
    made_token(path)
    content = path.read_text()
    token = content.split(",")[0]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert made_token(path).user(token) == User(name="root", groups=frozenset({"system:masters"}))
    assert path.read_text() == content


def test_a_token_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ApiError, match="cannot make"):
        made_token(tmp_path / "file" / "api" / "token.csv")


PEER = {
    "subject": (
        (("organizationName", "system:masters"),),
        (("organizationName", "other"), ("countryName", "XX")),
        (("commonName", "admin"),),
    )
}


@pytest.mark.parametrize(
    ("peer", "user"),
    [
        (PEER, User(name="admin", groups=frozenset({"system:masters", "other"}))),
        ({"subject": ((("organizationName", "system:masters"),),)}, None),
        ({}, None),
        (None, None),
    ],
)
def test_whose_a_certificate_is(peer: dict[str, object] | None, user: User | None) -> None:
    assert certified(peer) == user


class Known:
    def user(self, token: str) -> User | None:
        return User(name="ann") if token == "abc" else None


@pytest.mark.parametrize(
    ("authorization", "peer", "user", "anonymously"),
    [
        ("Bearer abc", None, User(name="ann"), User(name="ann")),
        ("bearer  abc ", None, User(name="ann"), User(name="ann")),
        ("Bearer wrong", None, None, None),
        ("Bearer wrong", PEER, None, None),
        ("Bearer ", PEER, None, None),
        ("Basic abc", None, None, None),
        ("", None, None, None),
        (None, PEER, certified(PEER), certified(PEER)),
        (None, None, None, ANONYMOUS),
    ],
)
async def test_who_it_is(
    authorization: str | None, peer: dict[str, object] | None, user: User | None, anonymously: User | None
) -> None:
    assert await Authentication(tokens=Known()).user(authorization, peer) == user
    assert await Authentication(tokens=Known(), anonymous=True).user(authorization, peer) == anonymously


async def test_without_tokens_none_is_good() -> None:
    assert await Authentication().user("Bearer abc", PEER) is None
