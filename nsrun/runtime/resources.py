"""From ``resources`` to cgroup files: pure arithmetic, the kubelet's (``pkg/kubelet/cm``, ``kuberuntime``).

A plan is a tuple of ``Setting``: which controller, which file, which value, and what a new cgroup has there anyway. A
writer applies it. Nothing here touches a file.

    cpu.shares   = clamp(milli × 1024 / 1000, 2, 262144)
    quota        = max(milli × period / 1000, 1000 µs), period 100 ms
    cpu.weight   = 1 + (shares - 2) × 9999 / 262142               pods and QoS classes: linear, as the kubelet does it
                 = ⌈10^((l² + 125 l)/612 - 7/34)⌉, l = log2 shares  containers: 1024 shares are weight 100
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.totals import pod_limit, pod_request, request

__all__ = [
    "ALL_CONTROLLERS",
    "CONTROLLERS",
    "QOS_DIRECTORY",
    "Setting",
    "container_v1",
    "container_v2",
    "container_weight",
    "cpu_quota",
    "cpu_shares",
    "pod_v1",
    "pod_v2",
    "pod_weight",
    "qos_v1",
    "qos_v2",
    "shares_of_weight",
    "with_pod_limits",
]

# The controllers that carry every pod's resources: one that is missing is told once, at the start.
CONTROLLERS = ("cpu", "memory", "pids")

# Those that are used where they are, and missed by nobody who does not ask for them: limits for huge pages, and what
# counts use (``io``, on v1 ``blkio`` and ``cpuacct``). cpuset, rdma, misc … are left to the host.
ALL_CONTROLLERS = frozenset({*CONTROLLERS, "hugetlb", "io", "blkio", "cpuacct"})

# Where pods of a class live below the root; guaranteed pods live in the root itself, as the kubelet has it.
QOS_DIRECTORY = {QosClass.GUARANTEED: "", QosClass.BURSTABLE: "burstable", QosClass.BEST_EFFORT: "besteffort"}

MIN_SHARES, MAX_SHARES, DEFAULT_SHARES = 2, 262144, 1024
MIN_WEIGHT, MAX_WEIGHT = 1, 10000
PERIOD, MIN_QUOTA = 100_000, 1_000  # µs


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value for one cgroup file. ``default``: what a fresh cgroup has there, so that it need not be written.

    ``asked``: what the manifest wanted, in words; empty when nobody would miss it. ``optional``: the file may be absent
    although its controller is there (no swap accounting, an older kernel).
    """

    controller: str
    file: str
    value: str
    default: str
    asked: str = ""
    optional: bool = False


def cpu_shares(milli: int) -> int:
    """``250`` (a quarter of a core) → 256."""
    return min(max(milli * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def cpu_quota(milli: int) -> int:
    """µs of cpu time in each period of 100 ms; the kernel refuses less than 1 ms."""
    return max(milli * PERIOD // 1000, MIN_QUOTA)


def pod_weight(shares: int) -> int:
    """The kubelet's own conversion, for cgroups of pods and QoS classes."""
    return MIN_WEIGHT + (shares - MIN_SHARES) * (MAX_WEIGHT - MIN_WEIGHT) // (MAX_SHARES - MIN_SHARES)


def shares_of_weight(weight: int) -> int:
    """The smallest shares whose ``pod_weight`` is ``weight``."""
    return MIN_SHARES + -(-(weight - MIN_WEIGHT) * (MAX_SHARES - MIN_SHARES) // (MAX_WEIGHT - MIN_WEIGHT))


def container_weight(shares: int) -> int:
    """The conversion of the OCI runtimes (opencontainers/cgroups, crun): 2 → 1, 1024 → 100, 262144 → 10000."""
    if shares <= MIN_SHARES:
        return MIN_WEIGHT
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def with_pod_limits(pod: Pod, container: Container) -> Container:
    """The container as its cgroup sees it: where it has no limit of its own, it is limited to what the whole pod is
    (kuberuntime, getCPULimit and getMemoryLimit)."""
    if pod.spec.resources is None:
        return container
    own = {name: limit for name, limit in container.resources.limits.items() if limit.milli > 0}
    limits = {**container.resources.limits, **pod.spec.resources.limits, **own}
    return replace(container, resources=replace(container.resources, limits=limits))


def container_v1(container: Container) -> tuple[Setting, ...]:
    """A container's own limits, cgroup v1."""
    asked = _Asked.of_container(container)
    return (_shares_v1(asked), _quota_v1(asked), _memory_v1(asked))


def container_v2(container: Container) -> tuple[Setting, ...]:
    """A container's own limits, cgroup v2. No swap (the kubelet's ``NoSwap``); when memory runs out all of the
    container dies rather than one process of it."""
    asked = _Asked.of_container(container)
    return (
        _weight_v2(container_weight(asked.shares), asked),
        _quota_v2(asked),
        _memory_v2(asked),
        Setting(controller="memory", file="memory.swap.max", value="0", default="max", optional=True),
        Setting(controller="memory", file="memory.oom.group", value="1", default="0", optional=True),
    )


def pod_v1(pod: Pod, pids_limit: int) -> tuple[Setting, ...]:
    """The limits of a whole pod, cgroup v1. ``pids_limit`` 0: none."""
    asked = _Asked.of_pod(pod)
    return (_shares_v1(asked), _quota_v1(asked), _memory_v1(asked), _pids(pids_limit))


def pod_v2(pod: Pod, pids_limit: int) -> tuple[Setting, ...]:
    """The limits of a whole pod, cgroup v2. ``pids_limit`` 0: none."""
    asked = _Asked.of_pod(pod)
    return (
        _weight_v2(pod_weight(asked.shares), asked),
        _quota_v2(asked),
        _memory_v2(asked),
        _pids(pids_limit),
    )


def qos_v1(shares: int) -> tuple[Setting, ...]:
    """A QoS class's share of the machine, cgroup v1. ``shares``: those of all its pods together."""
    return (_shares_v1(_Asked(who="", cpu=0, cpu_limit=None, memory=None, shares=shares)),)


def qos_v2(shares: int) -> tuple[Setting, ...]:
    """A QoS class's share of the machine, cgroup v2."""
    return (_weight_v2(pod_weight(shares), _Asked(who="", cpu=0, cpu_limit=None, memory=None, shares=shares)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a container, or a pod, asks for: cpu in thousandths of a core, memory in bytes."""

    who: str
    cpu: int
    cpu_limit: int | None
    memory: int | None
    shares: int

    @staticmethod
    def of_container(container: Container) -> _Asked:
        cpu = request(container, "cpu")
        cpu_limit = container.resources.limits.get("cpu")
        memory = container.resources.limits.get("memory")
        return _Asked(
            who=f'of container "{container.name}"',
            cpu=cpu,
            cpu_limit=cpu_limit.milli if cpu_limit is not None and cpu_limit.milli > 0 else None,
            memory=memory.value if memory is not None and memory.milli > 0 else None,
            shares=cpu_shares(cpu),
        )

    @staticmethod
    def of_pod(pod: Pod) -> _Asked:
        cpu = pod_request(pod, "cpu")
        memory = pod_limit(pod, "memory")
        return _Asked(
            who="of the pod",
            cpu=cpu,
            cpu_limit=pod_limit(pod, "cpu"),
            memory=-(-memory // 1000) if memory is not None else None,
            shares=cpu_shares(cpu),
        )

    def words(self, what: str, wanted: object) -> str:
        return f"{what} {self.who}" if wanted else ""


def _shares_v1(asked: _Asked) -> Setting:
    return Setting(
        controller="cpu",
        file="cpu.shares",
        value=str(asked.shares),
        default=str(DEFAULT_SHARES),
        asked=asked.words("the cpu request", asked.cpu),
    )


def _weight_v2(weight: int, asked: _Asked) -> Setting:
    return Setting(
        controller="cpu",
        file="cpu.weight",
        value=str(weight),
        default="100",
        asked=asked.words("the cpu request", asked.cpu),
    )


def _quota_v1(asked: _Asked) -> Setting:
    return Setting(
        controller="cpu",
        file="cpu.cfs_quota_us",
        value="-1" if asked.cpu_limit is None else str(cpu_quota(asked.cpu_limit)),
        default="-1",
        asked=asked.words("the cpu limit", asked.cpu_limit),
    )


def _quota_v2(asked: _Asked) -> Setting:
    return Setting(
        controller="cpu",
        file="cpu.max",
        value=f"max {PERIOD}" if asked.cpu_limit is None else f"{cpu_quota(asked.cpu_limit)} {PERIOD}",
        default=f"max {PERIOD}",
        asked=asked.words("the cpu limit", asked.cpu_limit),
    )


def _memory_v1(asked: _Asked) -> Setting:
    return Setting(
        controller="memory",
        file="memory.limit_in_bytes",
        value="-1" if asked.memory is None else str(asked.memory),
        default="-1",
        asked=asked.words("the memory limit", asked.memory),
    )


def _memory_v2(asked: _Asked) -> Setting:
    return Setting(
        controller="memory",
        file="memory.max",
        value="max" if asked.memory is None else str(asked.memory),
        default="max",
        asked=asked.words("the memory limit", asked.memory),
    )


def _pids(limit: int) -> Setting:
    return Setting(
        controller="pids",
        file="pids.max",
        value=str(limit) if limit > 0 else "max",
        default="max",
        asked="the limit of processes of the pod" if limit > 0 else "",
    )
