"""What ``nsrun port-forward`` is told on its command line, as kubectl reads it. Pure."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nsrun.cli.documents import Document, containers, rows_at, text_at
from nsrun.errors import NotFoundError, NsrunError

__all__ = ["Address", "Forward", "listen_addresses", "named_ports", "parse_forward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """``local`` 0: any port that is free."""

    local: int
    remote: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen. ``optional``: it need not be there, as long as another one is."""

    family: socket.AddressFamily
    host: str
    optional: bool = False

    def shown(self, port: int) -> str:
        """``127.0.0.1:80``, ``[::1]:80``."""
        return f"[{self.host}]:{port}" if self.family is socket.AF_INET6 else f"{self.host}:{port}"


def named_ports(pod: Document) -> Mapping[str, int]:
    """The TCP ports of the pod's containers that have names; of two with one name the first."""
    found: dict[str, int] = {}
    for row in containers([pod]):
        for port in rows_at(row.spec, "ports"):
            if text_at(port, "name") and text_at(port, "protocol") in ("", "TCP"):
                found.setdefault(text_at(port, "name"), int(text_at(port, "containerPort")))
    return found


def parse_forward(text: str, named: Mapping[str, int]) -> Forward:
    """``80``, ``8080:80``, ``:80``, ``0:80``; the port of the pod may be the name of one. Raises NsrunError."""
    local, colon, remote = text.rpartition(":")
    if not remote:
        raise NsrunError(f'cannot forward "{text}": it names no port of the pod', hint="[LOCAL:]REMOTE, as in 8080:80")
    number = _remote(text, remote, named)
    if not colon:
        return Forward(local=number, remote=number)
    return Forward(local=_number(text, local, least=0) if local else 0, remote=number)


def _remote(text: str, remote: str, named: Mapping[str, int]) -> int:
    if remote.isascii() and remote.isdigit():
        return _number(text, remote, least=1)
    if remote not in named:
        known = ", ".join(named)
        raise NotFoundError(
            f'cannot forward "{text}": no container of the pod has a TCP port called "{remote}"',
            hint=f"it has: {known}" if known else None,
        )
    return named[remote]


def _number(text: str, digits: str, *, least: int) -> int:
    if digits.isascii() and digits.isdigit() and least <= int(digits[:6]) <= 65535:
        return int(digits)
    raise NsrunError(f'cannot forward "{text}": "{digits}" is no port', hint=f"ports are {least} to 65535")


def listen_addresses(text: str) -> tuple[Address, ...]:
    """Addresses with commas between; ``localhost`` is 127.0.0.1 and ::1, of which one is enough. Raises NsrunError."""
    found = tuple(dict.fromkeys(address for word in text.split(",") for address in _addresses(word.strip())))
    if not found:
        raise NsrunError("cannot forward: no address is given to listen on")
    return found


def _addresses(word: str) -> Iterator[Address]:
    if not word:
        return
    if word == "localhost":
        yield Address(family=socket.AF_INET, host="127.0.0.1", optional=True)
        yield Address(family=socket.AF_INET6, host="::1", optional=True)
        return
    try:
        parsed = ipaddress.ip_address(word)
    except ValueError:
        raise NsrunError(f'cannot listen on "{word}": it is no IP address, nor localhost') from None
    yield Address(family=socket.AF_INET if parsed.version == 4 else socket.AF_INET6, host=str(parsed))
