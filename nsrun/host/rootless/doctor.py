"""What to say to somebody who is not root about the way into namespaces of his own: facts in, findings out. ``nsrun
doctor`` prints them before those of the machine."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import HostError
from nsrun.host.doctor import Finding, Level
from nsrun.host.rootless.ids import Ids, available_ids
from nsrun.host.rootless.mapping import INSTALL, PROGRAMS, find_program, is_privileged
from nsrun.host.rootless.refusals import UsernsFacts, apparmor_remedy, userns_facts

__all__ = ["UserFacts", "examine_user", "user_facts"]

_LINGER = Path("/var/lib/systemd/linger")
_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_CONNECTORS = ("pasta", "slirp4netns")
_TUN = "/dev/net/tun"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFacts:
    """``programs``: newuidmap and newgidmap, whether each has its privilege, None: it is not there. ``runtime``: the
    directory for what runs, ``session``: whether that is the login's own. ``lingers``: whether the user's processes
    outlive the login, None without systemd. ``first_port``: that anybody may listen at. ``connectors``: which of
    pasta and slirp4netns there are; ``tun``: whether the user may open the device they need, None: it is not there."""

    name: str
    uid: int
    ids: Ids
    programs: dict[str, bool | None]
    users: UsernsFacts
    runtime: str
    session: bool
    lingers: bool | None
    first_port: int
    connectors: tuple[str, ...]
    tun: bool | None


def user_facts(run_dir: str) -> UserFacts:
    """Of this process's user, before it goes in. Never fails. Blocks."""
    uid = os.geteuid()
    name = _name(uid)
    found = {program: find_program(program) for program in PROGRAMS.values()}
    return UserFacts(
        name=name,
        uid=uid,
        ids=available_ids(uid, os.getegid(), name),
        programs={program: None if path is None else is_privileged(path) for program, path in found.items()},
        users=userns_facts(),
        runtime=run_dir,
        session=not run_dir.startswith("/tmp/"),
        lingers=(_LINGER / name).exists() if Path("/run/systemd/system").is_dir() else None,
        first_port=_number(_PORTS, 1024),
        connectors=tuple(program for program in _CONNECTORS if shutil.which(program)),
        tun=os.access(_TUN, os.R_OK | os.W_OK) if os.path.exists(_TUN) else None,
    )


def examine_user(facts: UserFacts, refusal: HostError | None) -> list[Finding]:
    """Every finding, in the order to read them. ``refusal``: why this process could not go in."""
    return [
        *_namespaces(facts, refusal),
        *_ids(facts),
        *_session(facts),
        *_network(facts),
    ]


def _namespaces(facts: UserFacts, refusal: HostError | None) -> Iterator[Finding]:
    who = f"{facts.name} (user {facts.uid})"
    if refusal is not None:
        yield Finding(level=Level.ERROR, subject="rootless", text=refusal.message, hint=refusal.hint or "")
    elif facts.users.confined:
        yield _warning(
            "rootless",
            f"{who} has namespaces of his own, and AppArmor lets only programs with a profile make more "
            "(kernel.apparmor_restrict_unprivileged_userns is 1)",
            apparmor_remedy(),
        )
    else:
        yield _ok("rootless", f"{who} has namespaces of his own")


def _ids(facts: UserFacts) -> Iterator[Finding]:
    for warning in facts.ids.warnings:
        yield _warning("ids", warning.message, warning.hint or "")
    if facts.ids.single:
        return
    if facts.ids.direct:
        yield _ok("ids", f"all {facts.ids.uids.count} of the namespace that nsrun is started in")
        return
    for name, privileged in facts.programs.items():
        if privileged is None:
            yield _warning("ids", f"there is no {name}: containers have a single user and group id", INSTALL)
        elif not privileged:
            yield _warning(
                "ids",
                f"{name} has neither its setuid bit nor file capabilities: containers have a single user and group id",
                f"sudo chmod u+s $(command -v {name}), or install uidmap again; then nsrun down",
            )
    if all(facts.programs.values()):
        yield _ok("ids", f"{facts.ids.uids.count} user ids and {facts.ids.gids.count} group ids")


def _session(facts: UserFacts) -> Iterator[Finding]:
    if facts.session:
        yield _ok("run directory", facts.runtime)
    else:
        yield _warning(
            "run directory",
            f"{facts.runtime}: there is no XDG_RUNTIME_DIR of yours",
            "log in at the console or with ssh, not with su; or: sudo loginctl enable-linger " + facts.name,
        )
    if facts.lingers is False:
        yield _warning(
            "lingering",
            "systemd may end what you run when you log out, and starts none of it at the boot",
            f"sudo loginctl enable-linger {facts.name}",
        )


def _network(facts: UserFacts) -> Iterator[Finding]:
    if facts.connectors and not facts.tun:
        yield _warning(
            "connector",
            f"{_TUN} is {'not there' if facts.tun is None else 'not for everybody'}: pods reach nothing outside",
            "sudo modprobe tun" if facts.tun is None else f"sudo chmod 666 {_TUN}, as udev does",
        )
    elif facts.connectors:
        yield _ok("connector", f"{facts.connectors[0]} joins the pods' network to the outside")
    else:
        yield _warning(
            "connector",
            "there is neither pasta nor slirp4netns: pods reach each other, and nothing outside",
            "sudo apt install passt, on Fedora too; older distributions have slirp4netns",
        )
    if facts.first_port > 1:
        yield _warning(
            "host ports",
            f"pods cannot have host ports below {facts.first_port}",
            "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=0; a file in /etc/sysctl.d keeps it",
        )


def _ok(subject: str, text: str) -> Finding:
    return Finding(level=Level.OK, subject=subject, text=text)


def _warning(subject: str, text: str, hint: str) -> Finding:
    return Finding(level=Level.WARNING, subject=subject, text=text, hint=hint)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _number(path: Path, otherwise: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return otherwise
