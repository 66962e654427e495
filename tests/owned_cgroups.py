"""Cgroups that tests own. They outlive namespaces, so their names say whose they are.

A session that is killed with SIGKILL leaves its own; the next session removes them.
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from pathlib import Path

__all__ = ["SESSION", "new_name", "remove", "remove_of_the_dead", "session_name"]

PREFIX = "nsrun-test"
# Whose a cgroup is: set by the session for all its workers.
SESSION = "NSRUN_TEST_WORLD"
KILL_ALL = 'for f in $(find "$1" -name cgroup.procs); do xargs -r kill -9 < "$f" 2>/dev/null; done'


def session_name(pid: int) -> str:
    """Names a process for as long as the machine runs: its PID namespace, number and start time (proc(5))."""
    started = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    return f"{_pid_namespace()}-{pid}-{started}"


def new_name() -> str:
    """A name that no other test has, relative to each hierarchy's root."""
    return f"{PREFIX}-{os.environ.get(SESSION) or session_name(os.getpid())}-{uuid.uuid4().hex[:12]}"


def remove(name: str) -> None:
    """Kills what is left in the cgroup and removes it from every hierarchy."""
    for top in (hierarchy / name for hierarchy in _hierarchies()):
        if not top.is_dir():
            continue
        subprocess.run(["sh", "-c", KILL_ALL, "sh", str(top)], check=False)
        for directory in sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
            directory.rmdir()
        top.rmdir()


def remove_of_the_dead() -> None:
    """Removes what ended sessions left. Of another PID namespace nobody here can tell who lives."""
    for name in {path.name for top in _hierarchies() for path in top.glob(f"{PREFIX}-*")}:
        session = re.match(rf"{PREFIX}-((\d+)-(\d+)-\d+)-", name)
        if session is None or int(session[2]) != _pid_namespace():
            continue
        if not _lives(int(session[3]), session[1]):
            remove(name)


def _lives(pid: int, session: str) -> bool:
    try:
        return session_name(pid) == session
    except FileNotFoundError:
        return False


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _hierarchies() -> list[Path]:
    """Where cgroup hierarchies are mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]
