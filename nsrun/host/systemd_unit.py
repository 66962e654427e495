"""A unit of systemd's that runs the pods of a directory. Pure.

systemd.service(5), systemd.kill(5), systemd.resource-control(5). ``KillMode=process``: pods outlive nsrun, whose next
start finds them. A user's unit is given its part of the cgroup tree; where systemd cannot keep its own processes out of
the way of what lives on in there (``DelegateSubgroup=``, systemd 254), nsrun asks for a scope instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DELEGATES_SINCE", "SUBGROUP", "UNIT", "Unit", "parse_version", "quoted", "unit_directory"]

UNIT = "nsrun.service"
SUBGROUP = "supervisor"
"""The leaf of the unit's cgroup that nsrun itself is in."""
DELEGATES_SINCE = 254

_SYSTEM = Path("/etc/systemd/system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """``words``: the command line, its program with the whole path; ``user``: whose manager runs it, a user's or the
    system's; ``delegates``: whether that manager knows ``DelegateSubgroup=``."""

    words: tuple[str, ...]
    user: bool
    delegates: bool = False

    @property
    def text(self) -> str:
        """The unit file."""
        network = [] if self.user else ["Wants=network-online.target", "After=network-online.target"]
        delegation = ["Delegate=yes", f"DelegateSubgroup={SUBGROUP}"] if self.user and self.delegates else []
        lines = [
            "# Written by nsrun systemd install.",
            "[Unit]",
            "Description=Kubernetes pods with nothing but Linux",
            *network,
            "",
            "[Service]",
            f"ExecStart={quoted(self.words)}",
            "# Pods go on without nsrun; nsrun down ends them.",
            "KillMode=process",
            "Restart=on-failure",
            "RestartSec=1",
            *delegation,
            "",
            "[Install]",
            f"WantedBy={'default.target' if self.user else 'multi-user.target'}",
        ]
        return "\n".join(lines) + "\n"


def quoted(words: Sequence[str]) -> str:
    """As systemd.service(5) reads command lines: quotes, backslashes, and ``%`` and ``$`` that stand for themselves."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\n", "\\n")
    return escaped if re.fullmatch(r"[\w@/.,:=+%-]+", escaped) else f'"{escaped}"'


def parse_version(text: str) -> int:
    """``systemctl --version`` → 252; 0 when that is not told."""
    match = re.match(r"systemd (\d+)", text)
    return int(match[1]) if match else 0


def unit_directory(*, user: bool, home: str, config: str = "") -> Path:
    """Where it belongs. ``config``: XDG_CONFIG_HOME, which must be absolute."""
    if not user:
        return _SYSTEM
    return (Path(config) if config.startswith("/") else Path(home) / ".config") / "systemd" / "user"
