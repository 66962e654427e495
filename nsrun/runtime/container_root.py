"""A running container's files as the container sees them, its volumes included, by way of its first process.

The process is held by its pidfd, so that it is that of the container and no later one of the same number. Whoever uses
``root`` resolves paths below it with RESOLVE_IN_ROOT: links there are the container's.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import NotFoundError, RuntimeFailure, describe_errno
from nsrun.model.running import ContainerId
from nsrun.runtime.rundir import RunDirectory, container_key
from nsrun.runtime.shimsocket import PlainShim, connect
from nsrun.runtime.userns import range_of
from nsrun.support.boot import boot_id
from nsrun.support.fds import Fd
from nsrun.support.idranges import IdRange
from nsrun.support.layout import Layout
from nsrun.support.native import Message, abi

__all__ = ["ContainerRoot", "open_container_root"]

_PSEUDO = frozenset(
    {
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "efivarfs",
        "fusectl",
        "mqueue",
        "proc",
        "pstore",
        "securityfs",
        "selinuxfs",
        "sysfs",
        "tracefs",
    }
)
"""File systems whose files are the kernel's words, and no data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRoot:
    """``owner``: user and group of the container's first process, in its own numbers. ``users``: its user namespace,
    None for the host's. ``pseudo``: device numbers of file systems without data that it has mounted."""

    root: Fd
    owner: tuple[int, int]
    users: IdRange | None
    pseudo: frozenset[int]


def open_container_root(layout: Layout, id: ContainerId) -> ContainerRoot:
    """The root of this run. Blocks. Raises NotFoundError when it does not run, and RuntimeFailure."""
    try:
        entry = _running(layout.run_pod(id.uid), id)
        with Fd(os.pidfd_open(entry.pid)) as process:
            found = _look(layout, id, entry)
            if _ended(process):
                found.root.close()
                raise _not_running(id)
            return found
    except (FileNotFoundError, ProcessLookupError):
        raise _not_running(id) from None
    except (OSError, ValueError, KeyError) as error:
        cause = describe_errno(error.errno or 0) if isinstance(error, OSError) else "what is known of it is unreadable"
        hint = "use sudo" if isinstance(error, PermissionError) else None
        raise RuntimeFailure(f'cannot open the root of container "{id.name}": {cause}', hint=hint) from error


def _look(layout: Layout, id: ContainerId, entry: Message) -> ContainerRoot:
    process = Path(f"/proc/{entry.pid}")
    if entry.start_ticks and _start_ticks((process / "stat").read_bytes()) != entry.start_ticks:
        raise ProcessLookupError
    user = RunDirectory(layout, boot=boot_id()).config(id)["process"]["user"]
    own = os.stat("/proc/self/ns/user").st_ino == os.stat(process / "ns/user").st_ino
    return ContainerRoot(
        root=Fd.open(process / "root", os.O_PATH | os.O_DIRECTORY),
        owner=(user["uid"], user["gid"]),
        users=None if own else range_of(entry.pid),
        pseudo=_pseudo((process / "mountinfo").read_text(errors="surrogateescape")),
    )


def _running(run_pod: Path, id: ContainerId) -> Message:
    """What the pod's shim says of it. Raises OSError, NotFoundError, RuntimeFailure."""
    connection = connect(run_pod)
    if connection is None:
        raise _not_running(id)
    with PlainShim(connection) as shim:
        serial = shim.ask(abi.NS_REQ_LIST)
        while (message := shim.hear(serial).message).kind == abi.NS_MSG_ENTRY:
            if message.id == container_key(id) and message.state == abi.NS_STATE_RUNNING:
                return message
    raise _not_running(id)


def _ended(process: Fd) -> bool:
    """A pidfd can be read from once its process has ended."""
    poll = select.poll()
    poll.register(process.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _start_ticks(stat: bytes) -> int:
    """Field 22 of proc_pid_stat(5); the second may hold anything, so count from its last parenthesis."""
    return int(stat.rpartition(b")")[2].split()[19])


def _pseudo(mountinfo: str) -> frozenset[int]:
    found = set()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        major, _, minor = before.split(" ")[2].partition(":")
        if after.split(" ")[0] in _PSEUDO:
            found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


def _not_running(id: ContainerId) -> NotFoundError:
    return NotFoundError(
        f'cannot open the root of container "{id.name}": it does not run', hint="nsrun ps -a tells why"
    )
