"""Cgroups for somebody who is not root: a part of the cgroup v2 tree that systemd's user manager hands over.

    user.slice/user-1000.slice/user@1000.service/app.slice/nsrun.scope/supervisor   nsrun, its shims and its holder
                                                                     …/pods         what ``--cgroup-root`` means here

One scope for all nsruns of a user, entered by whoever starts the user's namespaces or runs pods, once; a mkdir for each
pod from then on. Only the manager may move a process there from a session's cgroup, and it asks the system's (systemd's
CGROUP_DELEGATION; cgroup-v2.rst, "Delegation Containment"). Processes are in leaves only: hence ``supervisor``. A
service with ``Delegate=yes`` that nsrun runs in is used as it is.

For processes with one thread, before they enter a user namespace.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import describe_errno
from nsrun.host.rootless.usermanager import NO_SUCH_UNIT, ManagerError, UserManager, open_manager

__all__ = ["CGROUP_ROOT", "SUPERVISOR", "UNIT", "Delegation", "cgroup_of", "enter_scope"]

CGROUP_ROOT = "NSRUN_CGROUP_ROOT"
"""The variable of ``--cgroup-root``."""

UNIT, SUPERVISOR, _PODS = "nsrun.scope", "supervisor", "pods"
_TOP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """``root``: below which pods' cgroups are, relative to the hierarchy's. ``refusal``: why nothing was handed over,
    empty when it was."""

    root: str
    refusal: str = ""


def enter_scope(environment: MutableMapping[str, str], *, top: Path = _TOP, proc: Path = Path("/proc")) -> Delegation:
    """Puts this process into the user's scope, and says in ``environment`` where pods' cgroups are, unless somebody
    said so. Never fails: without delegation pods run without cgroups. Blocks."""
    try:
        unit = _unit(environment.get("XDG_RUNTIME_DIR", ""), top, proc)
        _become_leaf(top / unit, proc)
        entered = Delegation(root=f"{unit}/{_PODS}")
    except ManagerError as error:
        entered = _none(str(error))
    except OSError as error:
        entered = _none(describe_errno(error.errno or 0))
    environment.setdefault(CGROUP_ROOT, entered.root)
    return entered


def cgroup_of(text: str) -> str:
    """``/proc/PID/cgroup`` → where it is in the v2 hierarchy, without a slash in front; empty when that is not told."""
    return next((line[3:].strip("/") for line in text.splitlines() if line.startswith("0::")), "")


def _none(why: str) -> Delegation:
    """Users are told apart by name: their pods may have the same UIDs."""
    return Delegation(root=f"nsrun-{os.geteuid()}", refusal=why)


def _unit(runtime: str, top: Path, proc: Path) -> str:
    """The delegated unit that this process is in from now on. Raises ManagerError, OSError."""
    if not (top / "cgroup.controllers").exists():
        raise ManagerError("this machine's hierarchy is not cgroup v2 alone")
    own = _own(proc)
    for unit in (own, os.path.dirname(own) if os.path.basename(own) == SUPERVISOR else ""):
        if unit and _is_delegated(top / unit):
            return unit
    manager = open_manager(runtime) if runtime else None
    if manager is None:
        raise ManagerError("no user manager of systemd's answers")
    with manager:
        _join_scope(manager)
    own = _own(proc)
    unit = os.path.dirname(own) if os.path.basename(own) == SUPERVISOR else own
    if os.path.basename(unit) != UNIT:
        raise ManagerError(f"systemd left this process in {own or 'no cgroup'}")
    return unit


def _join_scope(manager: UserManager) -> None:
    """The scope that is there, or a new one. Two that come at once: the second one's is refused, and it joins."""
    own = [os.getpid()]
    try:
        manager.attach(UNIT, f"/{SUPERVISOR}", own)
    except ManagerError as error:
        if error.name != NO_SUCH_UNIT:
            raise
        try:
            manager.start_scope(UNIT, "nsrun's pods", own)
        except ManagerError:
            manager.attach(UNIT, f"/{SUPERVISOR}", own)


def _own(proc: Path) -> str:
    return cgroup_of((proc / "self" / "cgroup").read_text())


def _is_delegated(unit: Path) -> bool:
    """systemd marks what it hands over (since 251), and gives it to the user. The manager's own service is handed over
    too, to the manager."""
    try:
        given = os.getxattr(unit, "user.delegate") == b"1"
        return given and unit.stat().st_uid == os.geteuid() and not unit.name.startswith("user@")
    except OSError:
        return False


def _become_leaf(unit: Path, proc: Path) -> None:
    """Moves what is in the unit's own cgroup into a leaf: none that hands controllers on may hold processes. Raises
    OSError."""
    leaf = unit / SUPERVISOR
    leaf.mkdir(exist_ok=True)
    for _ in range(_ROUNDS):
        pids = (unit / "cgroup.procs").read_text().split()
        if not pids:
            return
        for pid in pids:
            if pid == "0":
                continue  # of a process namespace that this process does not see
            try:
                (leaf / "cgroup.procs").write_text(pid)
            except ProcessLookupError:
                continue  # it has ended


_ROUNDS = 16  # what is forked meanwhile is in the parent's cgroup
