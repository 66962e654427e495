"""Operations by which a command joins a container that runs, and a process gets a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from nsrun.runtime.operation import Encoded
from nsrun.runtime.process_operations import namespace_names
from nsrun.support.native import abi

__all__ = ["Birth", "Enter", "Shut", "Terminal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enter:
    """Joins namespaces of the container's first process."""

    flags: int

    def describe(self) -> str:
        return f"join the container's namespaces: {namespace_names(self.flags)}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_ENTER, a=self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shut:
    """Leaves nothing open that could be taken from who is born."""

    def describe(self) -> str:
        return "close everything but standard input and output"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SHUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """Goes on as a new process, inside the process namespace that was joined."""

    def describe(self) -> str:
        return "create a process in the container's process namespace"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_BIRTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Gets a terminal of the container's own, which is also its console."""

    uid: int

    def describe(self) -> str:
        return "open a terminal in the container's /dev/pts"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_TERMINAL, a=self.uid)
