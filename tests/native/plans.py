"""Launch plans by hand: the tests' own small assembler, so that they depend on no compiler of plans."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from nsrun.support import native
from nsrun.support.native import abi

ALL_CAPS = (1 << 41) - 1
OWN_NAMESPACES = native.CLONE_NEWNS | native.CLONE_NEWPID | native.CLONE_NEWUTS | native.CLONE_NEWIPC
NULL_DEVICE = os.makedev(1, 3)


def texts(*items: str) -> bytes:
    """A list, as plans hold it."""
    return b"".join(item.encode() + b"\0" for item in items)


@dataclass
class Plan:
    """Operations are added in order; ``add`` returns the operation's index."""

    new_namespaces: int = OWN_NAMESPACES
    join_namespaces: int = 0
    fds: list[int] = field(default_factory=list)
    cgroup_fd: int = -1
    procs_fds: list[int] = field(default_factory=list)
    ops: list[tuple[int, dict[str, int], tuple[bytes, ...]]] = field(default_factory=list)

    def add(self, kind: int, *data: str | bytes, **fields: int) -> int:
        self.ops.append((kind, fields, tuple(item.encode() if isinstance(item, str) else item for item in data)))
        return len(self.ops) - 1

    def fd(self, number: int) -> int:
        """The descriptor travels with the plan; its index."""
        self.fds.append(number)
        return len(self.fds) - 1

    def root(self, stage: str, layers: Sequence[str], upper: str, work: str) -> None:
        """An overlay as rootfs."""
        self.add(abi.NS_OP_PRIVATE)
        for slot, path in enumerate((*layers, upper, work)):
            self.add(abi.NS_OP_OPEN, path, c=slot)
        count = len(layers)
        lower = ":".join(f"%{slot}" for slot in range(count))
        self.add(abi.NS_OP_OVERLAY, stage, f"lowerdir={lower},upperdir=%{count},workdir=%{count + 1}")
        self.add(abi.NS_OP_ROOT, stage)

    def fs(self, kind: str, target: str, *options: str, attributes: int = 0, real: int = 0) -> int:
        return self.add(abi.NS_OP_FS, kind, texts(*options), target, a=attributes, b=real)

    def node(self, path: str, mode: int, device: int) -> int:
        return self.add(abi.NS_OP_MKNOD, path, a=stat.S_IFCHR | mode, b=device)

    def groups(self, *gids: int) -> int:
        return self.add(abi.NS_OP_GROUPS, struct.pack(f"={len(gids)}I", *gids))

    def run(self, *arguments: str, program: str = "/bin/reporter", environment: Sequence[str] = ()) -> int:
        return self.add(abi.NS_OP_EXEC, texts(program), texts("reporter", *arguments), texts(*environment))

    def encode(self) -> bytes:
        start = native.PLAN_HEAD_SIZE + native.OP_SIZE * len(self.ops)
        data = bytearray()
        packed = b""
        for kind, fields, items in self.ops:
            places = []
            for item in items:
                places.append((start + len(data), len(item)) if item else (0, 0))
                data += item + b"\0" if item else b""
            packed += native.pack_op(kind, texts=places, **fields)
        head = native.pack_head(
            size=start + len(data),
            op_count=len(self.ops),
            fd_count=len(self.fds),
            new_namespaces=self.new_namespaces,
            join_namespaces=self.join_namespaces,
            cgroup_fd=self.cgroup_fd,
            procs_fds=self.procs_fds,
        )
        return head + packed + bytes(data)


def sealed(data: bytes, *, seals: int | None = None) -> int:
    """A memfd with this content; all seals unless told."""
    fd = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    every = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, every if seals is None else seals)
    return fd
