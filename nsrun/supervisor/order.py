"""In which order containers start (kuberuntime_manager.go SyncPod, computeInitContainerActions), and when they count as
up. Pure.

Init containers begin one after the other: the next one when the one before it has ended well or, a sidecar, is up. Once
past, a sidecar that ends is run again beside the others. App containers begin in the order of the manifest, each when
the one before it was started and its postStart hook is done; one that cannot be started is passed over.

Unlike the kubelet's, ours fetch their images side by side and beforehand. A container whose image takes long holds back
those after it only if it has a postStart hook: that is how manifests say that others are to wait for it.
"""

from __future__ import annotations

from nsrun.supervisor.facts import LIVE_STATES, ContainerFacts, PodFacts, Role, StopCause
from nsrun.supervisor.lifecycle import ContainerState

__all__ = ["is_initialized", "is_ready", "is_up", "may_start"]


def is_initialized(facts: PodFacts) -> bool:
    """Whether every init container has done its part."""
    return all(c.initialized for c in facts.containers if c.role is not Role.APP)


def may_start(facts: PodFacts, container: ContainerFacts) -> bool:
    """Whether it is its turn."""
    for other in facts.containers:
        if other.name == container.name:
            return True
        if other.role is not Role.APP:
            if not other.initialized:
                return False
        elif _holds(facts, other):
            return False
    return True


def _holds(facts: PodFacts, container: ContainerFacts) -> bool:
    """Whether the app containers after this one have to wait for it."""
    match container.state:
        case ContainerState.POST_START:
            return True
        case ContainerState.READY | ContainerState.STARTING:
            return f"start {container.name}" not in facts.retries
        case ContainerState.WAITING:
            spec = facts.spec(container)
            return spec is not None and spec.lifecycle.post_start is not None
        case _:
            return False


def is_up(facts: PodFacts, container: ContainerFacts) -> bool:
    """The status' ``started``: it runs, its postStart hook is done, and its startup probe has succeeded."""
    if container.state not in LIVE_STATES or container.state is ContainerState.POST_START:
        return False
    if container.stop is not None and container.stop.cause is StopCause.HOOK:
        return False
    spec = facts.spec(container)
    return container.up or spec is None or spec.startup_probe is None


def is_ready(facts: PodFacts, container: ContainerFacts) -> bool:
    """The status' ``ready``: an init container that ended well; any other that is up, and whose readiness probe says
    so, if it has one."""
    if container.role is Role.INIT:
        return container.initialized
    spec = facts.spec(container)
    return is_up(facts, container) and (container.ready or spec is None or spec.readiness_probe is None)
