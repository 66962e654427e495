"""One operation of a launch plan, as a value. The native child interprets them in order (``native/nsrun_abi.h`` says
what each does); ``describe`` says it in words that also fit behind "cannot", so one phrase explains a plan and renders
a failure.

``encoded`` gives an operation's fields in the ABI's terms. A descriptor is the index of one that travels with the plan,
or a ``Slot`` that an earlier operation filled."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

__all__ = ["Encoded", "Operation", "Slot", "listed", "text"]


class Slot(NamedTuple):
    """A descriptor that an operation of the plan opens itself."""

    number: int


class Encoded(NamedTuple):
    """An operation in the ABI's terms. ``texts``: the bytes of text[0..2], without the NUL that ends each."""

    kind: int
    fd: int | Slot | None = None
    a: int = 0
    b: int = 0
    c: int = 0
    texts: tuple[bytes, ...] = ()
    tolerate: bool = False


class Operation(Protocol):
    """One step of a launch."""

    def describe(self) -> str:
        """What it does, beginning with a verb: ``mount proc at "/proc" (nosuid, nodev, noexec)``."""
        ...

    def encoded(self) -> Encoded:
        """Its fields."""
        ...


def text(value: str) -> bytes:
    """A string as the plan's data area holds it."""
    return os.fsencode(value)


def listed(items: tuple[str, ...]) -> bytes:
    """A list: its items, each ended by a NUL."""
    return b"".join(os.fsencode(item) + b"\0" for item in items)
