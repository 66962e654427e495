"""Why there is no user namespace, and what to do about it: facts in, a sentence and a remedy out. Pure but for
``userns_facts``."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsrun.errors import HostError, describe_errno
from nsrun.host.rootless.holder import PROGRAM
from nsrun.support.native import abi

__all__ = ["PROFILE", "UsernsFacts", "apparmor_remedy", "explain", "userns_facts"]

PROFILE: Final = Path(__file__).resolve().parent / "apparmor" / "nsrun"
"""What lets our programs make user namespaces where AppArmor lets nobody."""

_AT_LEAST = 1000
_STAGES = {
    abi.NS_HOLDER_ALONE: "start a process that holds the user's namespaces",
    abi.NS_HOLDER_USER: "make a user namespace",
    abi.NS_HOLDER_OTHERS: "make namespaces in the user's own",
    abi.NS_HOLDER_ROOT: "become root in the user's namespace",
    abi.NS_HOLDER_MOUNTS: "change mounts in the user's namespace",
    abi.NS_HOLDER_NETWORK: "keep the user's network namespace",
    abi.NS_HOLDER_LOOPBACK: "set up the user's network namespace",
    abi.NS_HOLDER_EXEC: "run the holder of the user's namespaces",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsernsFacts:
    """What the kernel says of user namespaces. ``most``: user.max_user_namespaces; ``cloning``:
    kernel.unprivileged_userns_clone, Debian's; ``restricted``: kernel.apparmor_restrict_unprivileged_userns, Ubuntu's.
    None: this kernel has no such setting. ``label``: the process's AppArmor profile."""

    most: int | None = None
    cloning: bool | None = None
    restricted: bool | None = None
    label: str = ""

    @property
    def confined(self) -> bool:
        """Whether AppArmor takes from this process's user namespaces what they are good for: whoever has no profile, or
        the one of those who have none."""
        return bool(self.restricted) and self.label.split(" ")[0] in ("", "unconfined", "unprivileged_userns")


def userns_facts(proc: Path = Path("/proc")) -> UsernsFacts:
    """Of this machine and process. Never fails."""
    most = _number(proc / "sys/user/max_user_namespaces")
    cloning = _number(proc / "sys/kernel/unprivileged_userns_clone")
    restricted = _number(proc / "sys/kernel/apparmor_restrict_unprivileged_userns")
    label = _read(proc / "self/attr/apparmor/current") or _read(proc / "self/attr/current")
    return UsernsFacts(
        most=most,
        cloning=None if cloning is None else cloning != 0,
        restricted=None if restricted is None else restricted != 0,
        label=label.strip("\0\n "),
    )


def explain(step: int, error: int, facts: UsernsFacts) -> HostError:
    """The sentence for a stage of the holder's start that failed."""
    cause = describe_errno(error)
    told = f"cannot {_STAGES.get(step, 'hold the user’s namespaces')}: {cause}"
    if step == abi.NS_HOLDER_USER and error == errno.ENOSPC:
        return HostError(
            f"{told}: user.max_user_namespaces is {facts.most}",
            hint=f"sudo sysctl -w user.max_user_namespaces={max(_AT_LEAST, 2 * (facts.most or 0))}; "
            "a file in /etc/sysctl.d keeps it",
        )
    if step == abi.NS_HOLDER_USER and error == errno.EPERM and facts.cloning is False:
        return HostError(
            f"{told}: kernel.unprivileged_userns_clone is 0",
            hint="sudo sysctl -w kernel.unprivileged_userns_clone=1; a file in /etc/sysctl.d keeps it",
        )
    if error in (errno.EPERM, errno.EACCES) and facts.confined:
        return HostError(
            f"{told}: AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
            hint=apparmor_remedy(),
        )
    if step == abi.NS_HOLDER_USER and error == errno.EPERM:
        return HostError(
            told, hint="in a container its seccomp profile forbids it, and in a chroot the kernel: run nsrun outside"
        )
    return HostError(told)


def apparmor_remedy() -> str:
    """The commands that install the profile we ship."""
    return (
        f"sed 's|@BIN@|{PROGRAM.parent}|' {PROFILE} | sudo tee /etc/apparmor.d/nsrun && "
        "sudo apparmor_parser -r /etc/apparmor.d/nsrun"
    )


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _read(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return os.read(file.fileno(), 4096).decode("utf-8", "replace")
    except OSError:
        return ""
