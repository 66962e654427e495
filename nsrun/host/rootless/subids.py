"""Subordinate ids: what ids besides their own somebody may use, as the machine's files or its directory service say.
Texts in, ranges out; only ``subordinate_ids`` looks at the machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from nsrun.support.idranges import IdRange

__all__ = ["parse_getsubids", "parse_subids", "subordinate_ids", "uses_service"]

FILES = {"uid": Path("/etc/subuid"), "gid": Path("/etc/subgid")}
_LAST = (1 << 32) - 2  # -1 is nobody's id: credentials(7)
_PATIENCE = 10.0


def parse_subids(text: str, *, name: str, uid: int) -> tuple[IdRange, ...]:
    """subuid(5): ``name:first:count``, by the user's name or number, in as many lines as there are. What does not look
    like that is skipped, as newuidmap(1) does."""
    found: list[IdRange] = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(":")]
        if len(fields) == 3 and fields[0] in (name, str(uid)):
            found.extend(_range(*fields[1:]))
    return tuple(found)


def parse_getsubids(text: str) -> tuple[IdRange, ...]:
    """getsubids(1): ``0: name 100000 65536``."""
    found: list[IdRange] = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[0].endswith(":"):
            found.extend(_range(*fields[2:]))
    return tuple(found)


def _range(first: str, count: str) -> Iterator[IdRange]:
    """One, or none when these are no numbers of ids."""
    if all(text.isascii() and text.isdigit() for text in (first, count)):
        start, size = int(first), int(count)
        if size > 0 and start + size - 1 <= _LAST:
            yield IdRange(first=start, count=size)


def uses_service(nsswitch: str) -> bool:
    """Whether nsswitch.conf(5) names anything but the files for ``subid``."""
    for line in nsswitch.splitlines():
        database, colon, services = line.partition("#")[0].partition(":")
        if colon and database.strip() == "subid":
            return services.split() not in ([], ["files"])
    return False


def subordinate_ids(kind: str, *, name: str, uid: int) -> tuple[IdRange, ...]:
    """Of user ids (``kind`` "uid") or group ids ("gid"). Never fails: what cannot be read has none. Blocks."""
    if uses_service(_read(Path("/etc/nsswitch.conf"))):
        return _ask_service(kind, name, run=subprocess.run)
    return parse_subids(_read(FILES[kind]), name=name, uid=uid)


def _ask_service(kind: str, name: str, *, run: Callable[..., subprocess.CompletedProcess[str]]) -> tuple[IdRange, ...]:
    program = shutil.which("getsubids", path="/usr/bin:/bin:/usr/local/bin")
    if program is None:
        return ()
    words = [program, *(["-g"] if kind == "gid" else []), name]
    try:
        answer = run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_getsubids(answer.stdout) if answer.returncode == 0 else ()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
