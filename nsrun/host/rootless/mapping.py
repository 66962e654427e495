"""Writes the maps of a new user namespace: newuidmap(1) and newgidmap(1) for subordinate ids; one's own id, and what
one has the capability for, this process itself. Blocks."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

from nsrun.errors import HostError, describe_errno
from nsrun.host.rootless.ids import Ids
from nsrun.host.rootless.maps import IdMap

__all__ = ["PROGRAMS", "MapRefused", "find_program", "is_privileged", "write_maps"]

PROGRAMS = {"uid": "newuidmap", "gid": "newgidmap"}
_PATIENCE = 30.0
_PATHS = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"
_CAPABILITY = "security.capability"
_SINGLE = "containers have a single user and group id, and files of images belong to it"
INSTALL = "install it: sudo apt install uidmap, on Fedora shadow-utils; then nsrun down"


class MapRefused(Exception):
    """More than one id cannot be mapped. ``warning``: why, with the remedy."""

    def __init__(self, warning: HostError) -> None:
        super().__init__(warning.message)
        self.warning = warning


def find_program(name: str) -> str | None:
    """Where it is, on the caller's path or where distributions put it."""
    return shutil.which(name) or shutil.which(name, path=_PATHS)


def is_privileged(path: str) -> bool:
    """Whether the program has its setuid bit, or capabilities of its own (capabilities(7), "File capabilities")."""
    try:
        if os.stat(path).st_mode & stat.S_ISUID:
            return True
        return len(os.getxattr(path, _CAPABILITY)) > 0
    except OSError:
        return False


def write_maps(pid: int, ids: Ids) -> None:
    """Both maps of the user namespace of process ``pid``. Raises MapRefused, HostError."""
    if ids.single or ids.direct:
        _write_directly(pid, ids)
        return
    programs = {kind: find_program(name) for kind, name in PROGRAMS.items()}
    for kind, name in PROGRAMS.items():
        if programs[kind] is None:
            raise MapRefused(
                HostError(f"cannot map more than one id: there is no {name}, so that {_SINGLE}", hint=INSTALL)
            )
    for kind, found in (("uid", ids.uids), ("gid", ids.gids)):
        _run(PROGRAMS[kind], programs[kind] or "", pid, found)


def _run(name: str, program: str, pid: int, found: IdMap) -> None:
    try:
        done = subprocess.run(
            [program, str(pid), *found.words], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MapRefused(
            HostError(f"cannot map more than one id: {program} does not run, so that {_SINGLE}")
        ) from error
    if done.returncode == 0:
        return
    said = done.stderr.strip().splitlines()
    cause = said[-1] if said else f"exit code {done.returncode}"
    hint = f"look at {'/etc/subuid' if name == PROGRAMS['uid'] else '/etc/subgid'}"
    if not is_privileged(program):
        cause = f"{program} has neither its setuid bit nor file capabilities ({cause})"
        hint = f"sudo chmod u+s {program}, or install uidmap again; then nsrun down"
    raise MapRefused(HostError(f"cannot map more than one id: {cause}; {_SINGLE}", hint=hint))


def _write_directly(pid: int, ids: Ids) -> None:
    """user_namespaces(7): who may map nothing but his own group must give setgroups(2) up first."""
    texts = {"uid_map": ids.uids.text, "gid_map": ids.gids.text}
    if not ids.direct:
        texts = {"setgroups": "deny", **texts}
    for name, text in texts.items():
        try:
            Path(f"/proc/{pid}/{name}").write_text(text)
        except OSError as error:
            raise HostError(
                f"cannot map ids in the user's namespace: {describe_errno(error.errno or 0)} ({name})"
            ) from error
