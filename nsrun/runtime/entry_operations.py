"""Operations by which a command joins a container that runs, and a process gets a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from nsrun.model.session import TerminalSize
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
    """Gets a terminal of the container's own, for the account ``uid``. ``console``: it is also /dev/console."""

    uid: int
    size: TerminalSize | None = None
    console: bool = True

    def describe(self) -> str:
        return "open a terminal in the container's /dev/pts"

    def encoded(self) -> Encoded:
        size = (self.size.rows & 0xFFFF) << 16 | (self.size.columns & 0xFFFF) if self.size is not None else 0
        return Encoded(abi.NS_OP_TERMINAL, a=self.uid, b=size, c=int(self.console))
