"""Who sends a request to the secure port: a client certificate that the CA of the clients signed, or a token of a file.

The file is kube-apiserver's: ``token,user,uid,"group1,group2"``, a line each. Tokens are compared in constant time."""

from __future__ import annotations

import csv
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nsrun.errors import ApiError
from nsrun.support.atomic import write_atomic

__all__ = ["ANONYMOUS", "TokenFile", "Tokens", "User", "certified", "made_token", "parse_tokens"]

logger = logging.getLogger(__name__)

_MAX_BYTES = 1 << 20
_TICK = 20_000_000  # nanoseconds: times of files go by the tick of the kernel, which is 10 ms at most


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A name, and the groups that decide what it may do."""

    name: str
    groups: frozenset[str] = frozenset()


ANONYMOUS = User(name="system:anonymous", groups=frozenset({"system:unauthenticated"}))
"""Who shows nothing, where that is allowed."""


class Tokens(Protocol):
    """Who is who by bearer token."""

    def user(self, token: str) -> User | None:
        """Whose token it is; None when it is nobody's. May read a file."""
        ...


class TokenFile:
    """The users of a token file, which is read again when it has changed. One that cannot be read then changes nothing,
    and is told about once."""

    def __init__(self, path: Path) -> None:
        """Raises ApiError when it cannot be read now."""
        self._path = path
        self._seen = self._stamp()
        self._users = _read(path)

    def user(self, token: str) -> User | None:
        """Compares with every token, however soon one fits."""
        self._refresh()
        given, found = _digest(token), None
        for digest, user in self._users.items():
            if hmac.compare_digest(digest, given):
                found = user
        return found

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._users = _read(self._path)
        except ApiError as error:
            logger.error("Tokens stay as they were: %s", error)

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = os.stat(self._path)
        except OSError as error:
            return (error.errno or 0,)
        now = time.time_ns()
        young = now if now - status.st_mtime_ns < _TICK else 0  # it may be written once more without being told apart
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, young


def _read(path: Path) -> dict[bytes, User]:
    """Raises ApiError."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ApiError(f'cannot use "{path}": it has more than {_MAX_BYTES} bytes')
        return parse_tokens(data.decode(), name=str(path))
    except OSError as error:
        raise ApiError(f'cannot read "{path}": {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise ApiError(f'cannot use "{path}": it is not UTF-8') from error


def parse_tokens(content: str, *, name: str) -> dict[bytes, User]:
    """Users by the SHA-256 of their tokens. ``name``: of the file, for messages. Raises ApiError."""
    users: dict[bytes, User] = {}
    rows = csv.reader(content.splitlines(), skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if not row:
                continue
            if len(row) < 3 or not row[0].strip() or not row[1].strip():
                raise ApiError(
                    f'cannot use "{name}": line {rows.line_num} is not: token,user,uid,"group1,group2"',
                )
            groups = frozenset(group.strip() for group in ",".join(row[3:]).split(",") if group.strip())
            if _digest(row[0].strip()) in users:
                raise ApiError(f'cannot use "{name}": the token of line {rows.line_num} was there before')
            users[_digest(row[0].strip())] = User(name=row[1].strip(), groups=groups)
    except csv.Error as error:
        raise ApiError(f'cannot use "{name}": line {rows.line_num}: {error}') from error
    return users


def _digest(token: str) -> bytes:
    """Of one length, so that a comparison tells nothing of the token's."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def made_token(path: Path) -> TokenFile:
    """A token file of nsrun's own, made when there is none: one token that may do everything. Raises ApiError."""
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomic(path, f'{secrets.token_urlsafe(32)},root,0,"system:masters"\n'.encode(), durable=False)
    except OSError as error:
        raise ApiError(f'cannot make "{path}": {error.strerror}') from error
    return TokenFile(path)


def certified(peer: Mapping[str, object] | None) -> User | None:
    """Who a verified client certificate (as ``ssl.SSLSocket.getpeercert`` has it) is of: its common name is the user,
    its organisations the groups. None without a certificate, or without a name in it."""
    subject = peer.get("subject", ()) if peer else ()
    assert isinstance(subject, tuple)
    pairs = [pair for relative in subject for pair in relative]
    name = next((value for key, value in pairs if key == "commonName"), "")
    groups = frozenset(value for key, value in pairs if key == "organizationName")
    return User(name=name, groups=groups) if name else None
