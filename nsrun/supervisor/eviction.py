"""Ends pods that write more to the disk than they may (pkg/kubelet/eviction, localStorageEviction).

The kubelet does not do this to static pods. We do: a limit that nobody enforces is none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from nsrun.errors import NsrunError
from nsrun.model.pod import Pod
from nsrun.model.quantity import canonical, of_milli
from nsrun.model.resources import Quantity
from nsrun.model.totals import pod_limit
from nsrun.model.volume import EmptyDir, EmptyDirMedium
from nsrun.supervisor.ports import Runtime, Volumes
from nsrun.support.clock import Clock

__all__ = ["Evictions", "breach", "is_limited"]

logger = logging.getLogger(__name__)

STORAGE = "ephemeral-storage"

LOOK_EVERY = 10.0
"""Seconds (eviction manager's monitoring interval)."""

GRACE = 1.0
"""Seconds until a pod that is evicted is killed (immediateEvictionGracePeriodSeconds)."""


class Evict(Protocol):
    """What ends a pod as failed."""

    def __call__(self, pod: Pod, reason: str, message: str, *, grace: float) -> None: ...


def is_limited(pod: Pod) -> bool:
    """Whether anything limits what the pod may write to the disk."""
    return any(_size_limits(pod)) or pod_limit(pod, STORAGE) is not None or bool(_container_limits(pod))


def breach(pod: Pod, volumes: Mapping[str, int], containers: Mapping[str, int]) -> str | None:
    """Why the pod has to go, in the kubelet's words; None while it keeps to its limits. ``volumes`` and ``containers``:
    bytes by name."""
    for name, limit in _size_limits(pod):
        if volumes.get(name, 0) > limit.value:
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{canonical(limit)}". '
    total = pod_limit(pod, STORAGE)
    if total is not None and (sum(volumes.values()) + sum(containers.values())) * 1000 > total:
        like = next(iter(_container_limits(pod).values()), Quantity(milli=0, text="0Ki"))
        limit = of_milli(total, like=like)
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {canonical(limit)}. "
    for name, limit in _container_limits(pod).items():
        if containers.get(name, 0) > limit.value:
            return f'Container {name} exceeded its local ephemeral storage limit "{canonical(limit)}". '
    return None


def _size_limits(pod: Pod) -> Iterable[tuple[str, Quantity]]:
    """Of emptyDirs on disk; those in memory are limited by their file system."""
    for volume in pod.spec.volumes:
        source = volume.source
        if isinstance(source, EmptyDir) and source.medium is EmptyDirMedium.DISK:
            limit = source.size_limit
            if limit is not None and limit.milli > 0:
                yield volume.name, limit


def _container_limits(pod: Pod) -> Mapping[str, Quantity]:
    limits = ((container.name, container.resources.limits.get(STORAGE)) for container in pod.all_containers)
    return {name: limit for name, limit in limits if limit is not None and limit.milli > 0}


class Evictions:
    """Looks at the pods that have limits, one after the other. ``pods``: those that run now."""

    def __init__(
        self,
        *,
        volumes: Volumes,
        runtime: Runtime,
        clock: Clock,
        pods: Callable[[], Iterable[Pod]],
        evict: Evict,
    ) -> None:
        self._volumes = volumes
        self._runtime = runtime
        self._clock = clock
        self._pods = pods
        self._evict = evict

    async def run(self) -> None:
        """Looks every ten seconds, until it is cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            for pod in [pod for pod in self._pods() if is_limited(pod)]:
                await self._look_at(pod)

    async def _look_at(self, pod: Pod) -> None:
        try:
            volumes = await self._volumes.usage(pod)
            containers = await self._runtime.usage(pod.uid)
        except NsrunError as error:
            logger.warning("Cannot see how much disk pod %s uses: %s", pod.name, error)
            return
        message = breach(pod, volumes, containers)
        if message is not None:
            self._evict(pod, "Evicted", message, grace=GRACE)
