"""What this machine is made of, as cAdvisor describes one: the MachineInfo that ``/spec/`` answers with
(lib/model/machine.go). The parsing is pure; ``machine_info`` looks at the machine, once, and blocks for some
milliseconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nsrun.host.facts import HostFacts
from nsrun.host.mountinfo import parse_mountinfo
from nsrun.support.clock import rfc3339

__all__ = ["Core", "machine_document", "machine_info", "parse_cores", "vendor_and_speed"]

_SECTOR = 512
_VIRTUAL_DISKS = ("loop", "ram", "zram")
_VIRTUAL_LINKS = ("lo", "veth", "docker", "nerdctl", "nsr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A physical core: on which socket and memory node it is, and the processors it shows itself as."""

    id: int
    socket: int
    node: int
    threads: tuple[int, ...]


def parse_cores(processors: Mapping[int, tuple[int, int, int]]) -> tuple[Core, ...]:
    """Processor → (core, socket, memory node), as sysfs tells → the cores, each with its processors."""
    threads: dict[tuple[int, int, int], list[int]] = {}
    for processor, place in sorted(processors.items()):
        threads.setdefault(place, []).append(processor)
    return tuple(
        Core(id=core, socket=socket, node=node, threads=tuple(found))
        for (core, socket, node), found in sorted(threads.items(), key=lambda row: (row[0][2], row[0][1], row[0][0]))
    )


def vendor_and_speed(cpuinfo: str) -> tuple[str, int]:
    """``/proc/cpuinfo`` → vendor and kHz; "" and 0 where it tells of none (ARM)."""
    vendor = re.search(r"^vendor_id\s*: *(\S+)", cpuinfo, re.MULTILINE)
    speed = re.search(r"^(?:cpu MHz|clock)\s*: *([0-9.]+)", cpuinfo, re.MULTILINE)
    return vendor[1] if vendor else "", round(float(speed[1]) * 1000) if speed else 0


def machine_document(
    facts: HostFacts,
    *,
    cores: Sequence[Core],
    cpuinfo: str,
    identity: Mapping[str, str],
    disks: Mapping[str, object],
    interfaces: Sequence[object],
    filesystems: Sequence[object],
    now: float,
) -> dict[str, object]:
    """``identity``: ``machine_id`` and ``system_uuid``, "" for what is not told. The others as the document has
    them."""
    vendor, speed = vendor_and_speed(cpuinfo)
    pages = [{"page_size": size // 1024, "num_pages": count} for size, count in sorted(facts.huge_pages.items())]
    nodes = sorted({core.node for core in cores})
    return {
        "timestamp": rfc3339(now),
        "vendor_id": vendor,
        "num_cores": facts.cpus,
        "num_physical_cores": len(cores),
        "num_sockets": len({core.socket for core in cores}),
        "cpu_frequency_khz": speed,
        "memory_capacity": facts.memory_total,
        "swap_capacity": facts.swap_total,
        "memory_by_type": {},
        "nvm": {"memory_mode_capacity": 0, "app direct_mode_capacity": 0, "avg_power_budget": 0},
        "hugepages": pages,
        **identity,
        "boot_id": facts.boot_id,
        "filesystems": list(filesystems),
        "disk_map": dict(disks),
        "network_devices": list(interfaces),
        "topology": [
            {
                "node_id": node,
                # What a node has of the memory is told where there are several.
                "memory": facts.memory_total if len(nodes) == 1 else 0,
                "hugepages": pages if len(nodes) == 1 else [],
                "cores": [
                    {"core_id": core.id, "thread_ids": list(core.threads), "socket_id": core.socket}
                    for core in cores
                    if core.node == node
                ],
            }
            for node in nodes
        ],
        "cloud_provider": "Unknown",
        "instance_type": "Unknown",
        "instance_id": "None",
    }


def machine_info(facts: HostFacts, *, sys: Path = Path("/sys"), now: float) -> dict[str, object]:
    """Never fails: what cannot be read counts as absent."""
    identity = {
        "machine_id": _read(Path("/etc/machine-id")),
        "system_uuid": _read(sys / "class/dmi/id/product_uuid"),
    }
    return machine_document(
        facts,
        cores=parse_cores(_processors(sys)),
        cpuinfo=_read(Path("/proc/cpuinfo")),
        identity=identity,
        disks=_disks(sys),
        interfaces=_interfaces(sys),
        filesystems=_filesystems(),
        now=now,
    )


def _processors(sys: Path) -> dict[int, tuple[int, int, int]]:
    found = {}
    for directory in (sys / "devices/system/cpu").glob("cpu[0-9]*"):
        number, core = directory.name.removeprefix("cpu"), _read(directory / "topology/core_id")
        if not core.isdecimal() or not number.isdecimal():
            continue
        socket = _number(directory / "topology/physical_package_id")
        node = next((entry.name.removeprefix("node") for entry in directory.glob("node[0-9]*")), "0")
        found[int(number)] = (int(core), socket, int(node))
    return found


def _disks(sys: Path) -> dict[str, object]:
    """Whole disks by ``major:minor``."""
    found: dict[str, object] = {}
    for directory in sorted((sys / "block").glob("*")):
        major, _, minor = _read(directory / "dev").partition(":")
        if directory.name.startswith(_VIRTUAL_DISKS) or not minor:
            continue
        scheduler = re.search(r"\[(\w[\w-]*)\]", _read(directory / "queue/scheduler"))
        found[f"{major}:{minor}"] = {
            "name": directory.name,
            "major": int(major),
            "minor": int(minor),
            "size": _number(directory / "size") * _SECTOR,
            "scheduler": scheduler[1] if scheduler else "none",
        }
    return found


def _interfaces(sys: Path) -> list[object]:
    return [
        {
            "name": directory.name,
            "mac_address": _read(directory / "address"),
            "speed": _number(directory / "speed"),
            "mtu": _number(directory / "mtu"),
        }
        for directory in sorted((sys / "class/net").glob("*"))
        if not directory.name.startswith(_VIRTUAL_LINKS) and (directory / "address").exists()
    ]


def _filesystems() -> list[object]:
    """Of block devices, each once."""
    seen: dict[str, object] = {}
    for mount in parse_mountinfo(_read(Path("/proc/self/mountinfo"))):
        if not mount.source.startswith("/dev/") or mount.source in seen:
            continue
        try:
            space = os.statvfs(mount.point)
        except OSError:
            continue
        seen[mount.source] = {
            "device": mount.source,
            "capacity": space.f_blocks * space.f_frsize,
            "type": "vfs",
            "inodes": space.f_files,
            "has_inodes": space.f_files > 0,
        }
    return list(seen.values())


def _number(path: Path) -> int:
    """0 for what is no number; a speed that nobody knows is -1, and so 0."""
    text = _read(path)
    return int(text) if text.isdecimal() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
