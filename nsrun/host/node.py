"""What this machine offers to pods: capacities by resource name, and what of them pods may ask for.

Amounts are in thousandths of the unit, as quantities are. The rules are the kubelet's (pkg/kubelet/cm,
node_container_manager_linux.go; pkg/kubelet/nodestatus/setters.go).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nsrun.host.facts import HostFacts

__all__ = ["EVICTION_MEMORY", "RESERVABLE", "allocatable", "capacity", "disk_size"]

EVICTION_MEMORY = 100 << 20
"""Bytes: pods are evicted before the machine has less than this (memory.available<100Mi), so it is nobody's."""
EVICTION_DISK_PERCENT = 10
"""Of the disk (nodefs.available<10%)."""
RESERVABLE = frozenset({"cpu", "memory", "ephemeral-storage"})
"""What can be kept from pods for the rest of the machine."""
_HUGE = "hugepages-"
_UNITS = ((30, "Gi"), (20, "Mi"), (10, "Ki"))


def capacity(facts: HostFacts, *, disk: int, pods: int) -> dict[str, int]:
    """Everything there is. ``disk``: bytes of the file system that holds what containers write; ``pods``: how many."""
    huge = {_HUGE + _size(size): size * count * 1000 for size, count in sorted(facts.huge_pages.items())}
    return {
        "cpu": facts.cpus * 1000,
        "memory": facts.memory_total * 1000,
        "ephemeral-storage": disk * 1000,
        **huge,
        "pods": pods * 1000,
    }


def allocatable(whole: Mapping[str, int], reserved: Mapping[str, int]) -> dict[str, int]:
    """What pods may ask for, of the ``whole`` capacity: less what is ``reserved``, what eviction keeps free, and, of
    the memory, the huge pages. Never less than nothing."""
    huge = sum(amount for name, amount in whole.items() if name.startswith(_HUGE))
    kept = {
        "memory": EVICTION_MEMORY * 1000 + huge,
        "ephemeral-storage": whole.get("ephemeral-storage", 0) * EVICTION_DISK_PERCENT // 100,
    }
    return {name: max(amount - reserved.get(name, 0) - kept.get(name, 0), 0) for name, amount in whole.items()}


def disk_size(directory: Path) -> int:
    """Bytes of the file system that ``directory`` is on, or will be when it is made. 0: nobody can tell."""
    for place in (directory, *directory.parents):
        try:
            found = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return 0
        return found.f_blocks * found.f_frsize
    return 0


def _size(size: int) -> str:
    """2097152 → ``2Mi``."""
    return next((f"{size >> bits}{unit}" for bits, unit in _UNITS if size >= 1 << bits), str(size))
