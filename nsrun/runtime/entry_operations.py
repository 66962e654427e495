"""Operations by which a command joins a container that runs."""

from __future__ import annotations

from dataclasses import dataclass

from nsrun.runtime.operation import Encoded
from nsrun.runtime.process_operations import namespace_names
from nsrun.support.native import abi

__all__ = ["Birth", "Enter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enter:
    """Joins namespaces of the container's first process."""

    flags: int

    def describe(self) -> str:
        return f"join the container's namespaces: {namespace_names(self.flags)}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_ENTER, a=self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """Goes on as a new process, inside the process namespace that was joined."""

    def describe(self) -> str:
        return "create a process in the container's process namespace"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_BIRTH)
