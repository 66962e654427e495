"""What is handed to native code: the sealed plan, descriptors in the order that the plan counts them, sealed
programs."""

from __future__ import annotations

import errno
import fcntl
import os

from nsrun.support.fds import Fd

TYPE_CHECKING = False  # `nsrun exec` seals a plan that is encoded already
if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from nsrun.runtime.launchplan import LaunchPlan

__all__ = ["Luggage", "sealed", "sealed_plan", "sealed_program"]

_MFD_EXEC = 0x10
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Luggage:
    """Owned descriptors; ``add`` gives the index by which a plan names one."""

    def __init__(self) -> None:
        self._fds: list[Fd] = []

    def __len__(self) -> int:
        return len(self._fds)

    def __getitem__(self, index: int) -> Fd:
        """Still owned here."""
        return self._fds[index]

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


def sealed_plan(plan: LaunchPlan) -> Fd:
    """The encoded plan, in memory that nobody can change any more. Raises OSError."""
    return sealed("nsrun-plan", plan.encode())


def sealed_program(path: Path) -> Fd:
    """A copy of a program, in memory that nobody can change any more; execute it as ``/proc/self/fd/<n>``.

    A container's first process is a copy of the shim until it executes, and an image may name ``/proc/self/exe`` as
    what to execute: then the file behind it is in the container's hands (CVE-2019-5736). This one cannot be written to.
    Raises OSError."""
    return sealed(path.name, path.read_bytes(), executable=True)


def sealed(name: str, content: bytes, *, executable: bool = False) -> Fd:
    """Memory with this content, that nobody can change any more. Raises OSError."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = Fd(os.memfd_create(name, flags | (_MFD_EXEC if executable else 0)))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = Fd(os.memfd_create(name, flags))  # before 6.3 all memory may be executed, and the flag is unknown
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd.fileno(), view) :]
        fcntl.fcntl(fd.fileno(), fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        fd.close()
        raise
    return fd
