"""Processes in cgroups, started as the shim starts them: born in the v2 cgroup, held back until they are in v1's."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nsrun.runtime.cgroup_tree import write_file
from nsrun.runtime.cgroups import ContainerCgroup
from nsrun.support.fds import Fd
from tests.waiting import eventually

__all__ = ["is_gone", "memberships", "running"]

CLONE_INTO_CGROUP = 0x200000000
CLONE3 = 435


class CloneArguments(ctypes.Structure):
    """struct clone_args, up to ``cgroup``."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


@contextmanager
def running(cgroup: ContainerCgroup, *command: str) -> Iterator[int]:
    """The pid of ``command``, which runs in ``cgroup``; killed and reaped at the end."""
    assert platform.system() == "Linux"
    gate_out, gate_in = os.pipe()
    pid = _clone(cgroup, gate_out, ["/bin/sh", "-c", 'read go; exec "$@"', "sh", *command])
    os.close(gate_out)
    try:
        for procs in cgroup.procs:
            os.write(procs.fileno(), str(pid).encode())
        if cgroup.into is not None and not _is_v2(cgroup.into):
            write_file(cgroup.into, "cgroup.procs", str(pid))
        os.write(gate_in, b"go\n")
        yield pid
    finally:
        os.close(gate_in)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def _clone(cgroup: ContainerCgroup, stdin: int, argv: Sequence[str]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = CloneArguments(exit_signal=signal.SIGCHLD)
    if cgroup.into is not None and _is_v2(cgroup.into):
        arguments.flags, arguments.cgroup = CLONE_INTO_CGROUP, cgroup.into.fileno()
    pid = int(libc.syscall(CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments)))
    if pid == 0:
        try:
            os.dup2(stdin, 0)
            os.execv(argv[0], list(argv))
        finally:
            os._exit(127)
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return pid


def _is_v2(cgroup: Fd) -> bool:
    return "cgroup.controllers" in os.listdir(cgroup.fileno())


def memberships(pid: int) -> dict[str, str]:
    """Hierarchy (its controllers, or ``""`` for v2) → the cgroup a process is in."""
    rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return {row[1]: row[2] for row in rows}


def is_gone(pid: int) -> bool:
    """Whether a child has ended; it is reaped then."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def settled(pid: int, name: str) -> None:
    """Waits until a process runs the program ``name``."""
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == name, what=f"{pid} runs {name}")
