"""Kernel settings of the host that nsrun changes, and how they were before."""

from __future__ import annotations

import json
from pathlib import Path

from nsrun.errors import NetworkError, describe_errno
from nsrun.support.atomic import write_atomic

__all__ = ["Sysctls"]


class Sysctls:
    """Sets sysctls below ``/proc/sys``; those of the whole host are remembered in a file, to be put back."""

    def __init__(self, record: Path, *, top: Path = Path("/proc/sys")) -> None:
        self._record = record
        self._top = top

    def set(self, name: str, value: str, *, remember: bool = False) -> None:
        """``name`` with slashes: ``net/ipv4/ip_forward``. ``remember``: it is not our own interface's, and outlives us.

        Raises NetworkError.
        """
        path = self._top / name
        try:
            before = path.read_text().strip()
            if before == value:
                return
            if remember:
                self._remember(name, before=before, value=value)
            path.write_text(value)
        except OSError as error:
            raise NetworkError(
                f'cannot set sysctl "{name.replace("/", ".")}" to {value}: {describe_errno(error.errno or 0)}',
                hint="set it yourself, or mount /proc/sys writable",
            ) from error

    def exists(self, name: str) -> bool:
        """Whether this kernel has that setting (a kernel without IPv6 has no ``net/ipv6``)."""
        return (self._top / name).exists()

    def restore(self) -> None:
        """Puts back what ``set`` remembered, unless somebody has changed it since. Raises OSError."""
        for name, (before, value) in self._remembered().items():
            path = self._top / name
            if path.exists() and path.read_text().strip() == value:
                path.write_text(before)
        self._record.unlink(missing_ok=True)

    def _remember(self, name: str, *, before: str, value: str) -> None:
        record = self._remembered()
        record.setdefault(name, (before, value))
        self._record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(self._record, json.dumps(record).encode(), durable=False)

    def _remembered(self) -> dict[str, tuple[str, str]]:
        try:
            document = json.loads(self._record.read_bytes())
            return {str(name): (str(before), str(value)) for name, (before, value) in document.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):  # lost, or not ours
            return {}
