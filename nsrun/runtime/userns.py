"""User namespaces of pods. One is made with the pod's network namespace, which belongs to it and holds it; the pause
process is in it, and containers join it from there. So it is found again wherever one of these is.

What holds in such a pod (``hostUsers: false``):

* network, ipc, uts and mount namespaces belong to its user namespace: with the capabilities for it, its root may
  configure its network and mount. Process and cgroup namespaces stay the host's; nothing in a container tells, save
  that no new /proc of its own process namespace can be mounted.
* what nsrun mounted is locked (mount_namespaces(7)): also with CAP_SYS_ADMIN, masks cannot be taken away, and what is
  read-only stays so.
* layers and volumes are idmapped: who owns a file on disk owns it in the container under the same number. What a
  container writes over its image lies on disk under the host's numbers.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from nsrun.errors import RuntimeFailure
from nsrun.support.fds import Fd
from nsrun.support.idranges import IdRange

__all__ = ["owner_of", "parse_map", "range_of", "users_of"]

_NS_GET_USERNS = 0xB701  # ioctl_ns(2)


def owner_of(netns: Fd) -> Fd:
    """The user namespace that a network namespace belongs to. Raises RuntimeFailure when that is our own."""
    owner = Fd(fcntl.ioctl(netns.fileno(), _NS_GET_USERNS))
    if os.fstat(owner.fileno()).st_ino == os.stat("/proc/self/ns/user").st_ino:
        owner.close()
        raise RuntimeFailure(
            "the pod's network namespace belongs to the host's user namespace, not to the pod's",
            reason="CreatePodSandboxError",
        )
    return owner


def users_of(pid: int) -> Fd:
    """The user namespace of a process. Raises OSError."""
    return Fd.open(f"/proc/{pid}/ns/user", os.O_RDONLY)


def range_of(pid: int) -> IdRange:
    """The ids of a process's user namespace. Raises OSError, and RuntimeFailure for a map that is not ours."""
    return parse_map(Path(f"/proc/{pid}/uid_map").read_text())


def parse_map(text: str) -> IdRange:
    """user_namespaces(7): one line, from 0 on. Raises RuntimeFailure."""
    fields = text.split()
    if len(fields) != 3 or fields[0] != "0" or not all(field.isdigit() for field in fields):
        raise RuntimeFailure("the sandbox is in a user namespace that is not ours", reason="CreateContainerError")
    return IdRange(first=int(fields[1]), count=int(fields[2]))
