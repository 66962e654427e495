"""What an imagined machine uses: every container half a core and 4 MiB of memory, each sandbox 1 MiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsrun.model.figures import (
    ContainerFigures,
    CpuFigures,
    DeviceUse,
    Figures,
    Filesystem,
    InterfaceFigures,
    MachineFigures,
    MemoryFigures,
    PodFigures,
    Usage,
)

if TYPE_CHECKING:
    from tests.contracts.fakes import FakeMachine, FakePod

__all__ = ["CORES", "MIB", "fake_figures", "fake_filesystem", "fake_interface"]

MIB = 1 << 20
CORES = 0.5


def fake_usage(seconds: float, mib: int, *, now: float, brief: bool, cores: float = CORES) -> Usage:
    """After ``seconds`` of running; a tenth of the memory is page cache that nobody misses."""
    cpu = CpuFigures(usage=round(seconds * cores * 1e9))
    memory = MemoryFigures(usage=mib * MIB, rss=mib * MIB // 2, inactive_file=mib * MIB // 10, page_faults=7)
    if brief:
        return Usage(time=now, monotonic=now, cpu=cpu, memory=memory)
    devices = (DeviceUse(device="8:0", read_bytes=round(seconds * 1000), written_bytes=round(seconds * 2000)),)
    return Usage(time=now, monotonic=now, cpu=cpu, memory=memory, devices=devices, processes=1, threads=2)


def fake_figures(machine: FakeMachine, *, brief: bool) -> Figures:
    """Of all that runs now."""
    now = machine.clock.now()
    pods = {uid: _pod(pod, now, brief) for uid, pod in machine.pods.items() if pod.sandbox is not None}
    return Figures(
        machine=MachineFigures(
            usage=fake_usage(now % 1e6, 1024, now=now, brief=brief, cores=1.5),
            memory_total=2048 * MIB,
            swap_total=0,
            processes=50,
            processes_limit=32768,
            boot=now - now % 1e6,
        ),
        own=fake_usage(10.0, 40, now=now, brief=brief),
        all_pods=fake_usage(10.0, 5 * len(pods), now=now, brief=brief),
        pods=pods,
    )


def _pod(pod: FakePod, now: float, brief: bool) -> PodFigures:
    assert pod.sandbox is not None
    running = [run for run in pod.runs.values() if run.exit is None]
    containers = {
        run.id.name: ContainerFigures(
            id=run.id,
            hash=run.running.hash,
            started_at=run.started_at,
            usage=fake_usage(now - run.started_at, 4, now=now, brief=brief),
        )
        for run in running
    }
    seconds = sum(now - run.started_at for run in running)
    return PodFigures(
        usage=fake_usage(seconds, 1 + 4 * len(running), now=now, brief=brief),
        path=f"nsrun/pod{pod.sandbox.uid}",
        started_at=pod.sandbox.started_at,
        containers=containers,
    )


def fake_filesystem(used: int) -> Filesystem:
    """Of a gigabyte, ``used`` of it."""
    return Filesystem(
        capacity=1024 * MIB, available=1024 * MIB - used, used=used, inodes=1000, inodes_free=900, inodes_used=100
    )


def fake_interface(seconds: float) -> InterfaceFigures:
    """A kilobyte received each second, and twice as much sent."""
    return InterfaceFigures(name="eth0", received_bytes=round(seconds * 1000), sent_bytes=round(seconds * 2000))
