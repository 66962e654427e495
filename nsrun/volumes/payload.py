"""What is to be in a volume that is made of values: files by their path, and which paths may be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nsrun.errors import VolumeError

__all__ = ["File", "Payload", "check_paths", "merged"]

_LONGEST_PATH, _LONGEST_NAME = 4096, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file. ``data`` is never printed: it may be a secret."""

    data: bytes
    mode: int

    def __repr__(self) -> str:
        return f"File({len(self.data)} bytes, {self.mode:04o})"


Payload = Mapping[str, File]
"""Files by their path: relative, its parts joined by single slashes."""


def check_paths(payload: Payload) -> None:
    """Raises VolumeError (without the volume's name) when a path could lead out of the volume or hide what the writer
    needs, or when one file would have to be a directory for another one."""
    for path in payload:
        problem = _problem(path)
        if problem:
            raise VolumeError(f'path "{path}" {problem}')
    for path in payload:
        parts = path.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if above in payload:
                raise VolumeError(f'path "{above}" is a file, and a directory for "{path}"')


def merged(payloads: Iterable[Payload]) -> tuple[dict[str, File], list[str]]:
    """All files together, a later one in place of an earlier one; and the paths where that happened."""
    files: dict[str, File] = {}
    twice: list[str] = []
    for payload in payloads:
        twice += [path for path in payload if path in files and path not in twice]
        files.update(payload)
    return files, twice


def _problem(path: str) -> str:
    """The kubelet's rules (``pkg/volume/util/atomic_writer.go``, validatePath), and what no file system takes."""
    parts = path.split("/")
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is not relative"
    if len(path.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts):
        return "is too long"
    if "\0" in path or any(part in ("", ".") for part in parts):
        return "is not in its shortest form"
    if ".." in parts:
        return 'contains ".."'
    if parts[0].startswith(".."):
        return 'starts with ".."'
    return ""
