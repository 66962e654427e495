"""What of this machine goes into configurations, read once."""

from __future__ import annotations

import glob
import os
import resource
from pathlib import Path

from nsrun.host.facts import HostFacts
from nsrun.runtime.surroundings import Machine

__all__ = ["read_machine"]

# Each core's own: masked where it is, since a mask must name what exists (GHSA: thermal counters as a side channel).
_THERMAL = "/sys/devices/system/cpu/cpu*/thermal_throttle"


def read_machine(facts: HostFacts) -> Machine:
    """Limits count only where we lack CAP_SYS_RESOURCE, which lets a process exceed its own."""
    limits, floor = {}, -1000
    if not facts.has_resources:
        names = ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE")
        hard = {name: resource.getrlimit(getattr(resource, name))[1] for name in names}
        limits = {name: value for name, value in hard.items() if value != resource.RLIM_INFINITY}
        floor = _own_oom_score()
    return Machine(
        memory=facts.memory_total,
        capabilities=facts.capabilities,
        kernel_capabilities=facts.capabilities | set(facts.withheld),
        hard_limits=limits,
        oom_floor=floor,
        app_armor="apparmor" in facts.lsms,
        se_linux="selinux" in facts.lsms,
        masked=tuple(sorted(glob.glob(_THERMAL))),
        users=facts.users,
        overlay=facts.overlay.flavour,
        makes_devices=facts.makes_devices,
        host_queues=os.path.ismount("/dev/mqueue"),
    )


def _own_oom_score() -> int:
    try:
        return int(Path("/proc/self/oom_score_adj").read_text())
    except (OSError, ValueError):
        return 0
