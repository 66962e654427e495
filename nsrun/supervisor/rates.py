"""How fast something is used: two looks compared. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nsrun.model.figures import DeviceUse, Figures, InterfaceFigures, Usage, rate
from nsrun.supervisor.measuring import Since

__all__ = ["Flow", "UsageRates", "container_rates", "network_flow", "pod_rates", "rates_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRates:
    """``cpu``: nanoseconds of processor time each second, which are billionths of a core. The others: bytes each
    second. None: not known."""

    cpu: float | None = None
    read: float | None = None
    written: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Bytes so far, and each second (None: not known)."""

    received: int
    sent: int
    received_rate: float | None
    sent_rate: float | None


def container_rates(since: Since, uid: str, name: str) -> UsageRates:
    """Of a container that is in the newer look. One that began after the older one: since then."""
    now = since.now.figures.pods[uid].containers[name]
    pod = since.before.figures.pods.get(uid)
    before = pod.containers.get(name) if pod is not None else None
    same = before if before is not None and before.id == now.id else None
    return _rates(None if same is None else same.usage, now.usage, began=now.started_at)


def pod_rates(since: Since, uid: str) -> UsageRates:
    """The same of a pod as a whole."""
    now, before = since.now.figures.pods[uid], since.before.figures.pods.get(uid)
    same = before if before is not None and before.started_at == now.started_at else None
    return _rates(None if same is None else same.usage, now.usage, began=now.started_at)


def rates_of(since: Since, part: Callable[[Figures], Usage]) -> UsageRates:
    """The same of what ``part`` takes from both looks: the machine, nsrun itself, all pods together."""
    return _rates(part(since.before.figures), part(since.now.figures), began=0.0)


def network_flow(since: Since, uid: str) -> Flow | None:
    """What goes through all interfaces of a pod; None for a pod in the host's network."""
    now = since.now.network.pods.get(uid)
    if not now:
        return None
    before = since.before.network.pods.get(uid)
    seconds = since.now.network.monotonic - since.before.network.monotonic
    received, sent = _through(now)
    was = _through(before) if before is not None else (None, None)
    return Flow(
        received=received,
        sent=sent,
        received_rate=rate(was[0], received, seconds),
        sent_rate=rate(was[1], sent, seconds),
    )


def _through(links: tuple[InterfaceFigures, ...]) -> tuple[int, int]:
    return sum(link.received_bytes for link in links), sum(link.sent_bytes for link in links)


def _rates(before: Usage | None, now: Usage, *, began: float) -> UsageRates:
    """Without an earlier look everything was used since the beginning."""
    seconds = now.time - began if before is None else now.monotonic - before.monotonic
    was = (0, 0, 0) if before is None else _counters(before)
    cpu, read, written = (rate(*pair, seconds) for pair in zip(was, _counters(now), strict=True))
    return UsageRates(cpu=cpu, read=read, written=written)


def _counters(usage: Usage) -> tuple[int | None, int | None, int | None]:
    """Processor time; bytes read and written on all devices, None where nothing counts them."""
    cpu = usage.cpu.usage if usage.cpu is not None else None
    return cpu, _sum(usage.devices, "read_bytes"), _sum(usage.devices, "written_bytes")


def _sum(devices: tuple[DeviceUse, ...], what: str) -> int | None:
    return sum(getattr(device, what) for device in devices) if devices else None
