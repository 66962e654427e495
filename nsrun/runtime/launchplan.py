"""A launch plan as a value, and its encoding for the native child."""

from __future__ import annotations

from dataclasses import dataclass

from nsrun.runtime import operations as do
from nsrun.support import native

__all__ = ["LaunchPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What the child does, in which namespaces, in which cgroups. Descriptors are indices of those that travel with
    it."""

    operations: tuple[do.Operation, ...]
    new_namespaces: int
    join_namespaces: int = 0
    fd_count: int = 0
    cgroup_fd: int = -1
    procs_fds: tuple[int, ...] = ()

    def explain(self) -> list[str]:
        """One line for each thing that happens, in order."""
        lines = [f"make namespaces: {do.namespace_names(self.new_namespaces)}"]
        if self.join_namespaces:
            lines.append(f"join namespaces of the sandbox: {do.namespace_names(self.join_namespaces)}")
        return [*lines, *(operation.describe() for operation in self.operations)]

    def encode(self) -> bytes:
        """The plan as ``struct ns_plan``, operations and data."""
        start = native.PLAN_HEAD_SIZE + native.OP_SIZE * len(self.operations)
        packed: list[bytes] = []
        data = bytearray()
        for operation in self.operations:
            fields = operation.encoded()
            packed.append(
                native.pack_op(
                    fields.kind,
                    flags=native.abi.NS_TOLERATE if fields.tolerate else 0,
                    fd=self._index(fields.fd),
                    a=fields.a,
                    b=fields.b,
                    c=fields.c,
                    texts=[_append(data, start, text) for text in fields.texts],
                )
            )
        head = native.pack_head(
            size=start + len(data),
            op_count=len(self.operations),
            fd_count=self.fd_count,
            new_namespaces=self.new_namespaces,
            join_namespaces=self.join_namespaces,
            cgroup_fd=self.cgroup_fd,
            procs_fds=self.procs_fds,
        )
        return b"".join((head, *packed, data))

    def _index(self, fd: int | do.Slot | None) -> int:
        if fd is None:
            return -1
        return self.fd_count + fd.number if isinstance(fd, do.Slot) else fd


def _append(data: bytearray, start: int, text: bytes) -> tuple[int, int]:
    """Adds a text with its NUL, aligned for whatever it holds; where it is."""
    if not text:
        return 0, 0
    data.extend(bytes(-(start + len(data)) % 8))
    offset = start + len(data)
    data += text
    data.append(0)
    return offset, len(text)
