"""What travels with a launch: the sealed plan, and descriptors in the order that the plan counts them."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

from nsrun.runtime.plan import LaunchPlan
from nsrun.support.fds import Fd

__all__ = ["Luggage", "sealed"]

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Luggage:
    """Owned descriptors; ``add`` gives the index by which a plan names one."""

    def __init__(self) -> None:
        self._fds: list[Fd] = []

    def __len__(self) -> int:
        return len(self._fds)

    def add(self, fd: Fd) -> int:
        """Takes the descriptor over."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def numbers(self) -> list[int]:
        """The descriptors, in order; they stay owned here."""
        return [fd.fileno() for fd in self._fds]

    def close(self) -> None:
        while self._fds:
            self._fds.pop().close()

    def __enter__(self) -> Luggage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sealed(plan: LaunchPlan) -> Fd:
    """The encoded plan in memory that nobody, its maker included, can change any more. Raises OSError."""
    fd = Fd(os.memfd_create("nsrun-plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    try:
        view = memoryview(plan.encode())
        while view:
            view = view[os.write(fd.fileno(), view) :]
        fcntl.fcntl(fd.fileno(), fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        fd.close()
        raise
    return fd
