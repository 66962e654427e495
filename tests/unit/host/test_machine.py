"""What a machine is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nsrun.host.facts import probe
from nsrun.host.machine import Core, machine_document, machine_info, parse_cores, vendor_and_speed

CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
cpu MHz\t\t: 2400.125
"""


def test_threads_share_cores() -> None:
    """Two sockets, each a memory node, with two cores of two threads: numbered as Intel does."""
    processors = {n: (n % 2, n // 2 % 2, n // 2 % 2) for n in range(8)}
    assert parse_cores(processors) == (
        Core(id=0, socket=0, node=0, threads=(0, 4)),
        Core(id=1, socket=0, node=0, threads=(1, 5)),
        Core(id=0, socket=1, node=1, threads=(2, 6)),
        Core(id=1, socket=1, node=1, threads=(3, 7)),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CPUINFO, ("GenuineIntel", 2_400_125)),
        ("CPU implementer : 0x41\n", ("", 0)),
        ("clock : 4000MHz\n", ("", 4000000)),
    ],
)
def test_vendor_and_speed(text: str, expected: tuple[str, int]) -> None:
    assert vendor_and_speed(text) == expected


def test_the_document_has_cadvisors_keys() -> None:
    document: dict[str, Any] = machine_document(
        probe(),
        cores=parse_cores({0: (0, 0, 0), 1: (0, 0, 0), 2: (0, 1, 1)}),
        cpuinfo=CPUINFO,
        identity={"machine_id": "m", "system_uuid": ""},
        disks={},
        interfaces=[],
        filesystems=[],
        now=0.0,
    )
    assert set(document) == {
        *("timestamp", "vendor_id", "num_cores", "num_physical_cores", "num_sockets", "cpu_frequency_khz"),
        *("memory_capacity", "swap_capacity", "memory_by_type", "nvm", "hugepages", "machine_id", "system_uuid"),
        *("boot_id", "filesystems", "disk_map", "network_devices", "topology", "cloud_provider"),
        *("instance_type", "instance_id"),
    }
    assert (document["num_physical_cores"], document["num_sockets"]) == (2, 2)
    assert [node["node_id"] for node in document["topology"]] == [0, 1]
    assert document["topology"][0]["cores"] == [{"core_id": 0, "thread_ids": [0, 1], "socket_id": 0}]


def make_sysfs(top: Path) -> Path:
    files = {
        "devices/system/cpu/cpu0/topology/core_id": "0",
        "devices/system/cpu/cpu0/topology/physical_package_id": "0",
        "devices/system/cpu/cpu1/topology/core_id": "1",
        "devices/system/cpu/cpu1/topology/physical_package_id": "0",
        "devices/system/cpu/cpu1/node0/nothing": "",
        "devices/system/cpu/cpu2/online": "0",  # unplugged
        "block/sda/dev": "8:0",
        "block/sda/size": "2048",
        "block/sda/queue/scheduler": "none [mq-deadline] kyber",
        "block/loop0/dev": "7:0",
        "class/net/eth0/address": "02:00:00:00:00:01",
        "class/net/eth0/mtu": "1500",
        "class/net/eth0/speed": "-1",
        "class/net/veth1/address": "02:00:00:00:00:02",
        "class/net/nsr0123/address": "02:00:00:00:00:03",
        "class/dmi/id/product_uuid": "u-u",
    }
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(content + "\n")
    return top


def test_a_machine_as_sysfs_shows_it(tmp_path: Path) -> None:
    document: dict[str, Any] = machine_info(probe(), sys=make_sysfs(tmp_path), now=0.0)
    assert (document["num_physical_cores"], document["system_uuid"]) == (2, "u-u")
    assert document["disk_map"] == {
        "8:0": {"name": "sda", "major": 8, "minor": 0, "size": 1 << 20, "scheduler": "mq-deadline"}
    }
    assert document["network_devices"] == [
        {"name": "eth0", "mac_address": "02:00:00:00:00:01", "speed": 0, "mtu": 1500}
    ]


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    document = machine_info(probe(), sys=tmp_path / "nowhere", now=0.0)
    assert (document["num_physical_cores"], document["disk_map"], document["network_devices"]) == (0, {}, [])


def test_this_machine() -> None:
    document: dict[str, Any] = machine_info(probe(), now=1.0)
    assert document["num_cores"] >= 1
    assert document["memory_capacity"] > 1 << 26
    assert document["timestamp"] == "1970-01-01T00:00:01Z"
