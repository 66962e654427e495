"""How containers are stopped: who waits for whom, and until when (kuberuntime_container.go killContainer,
kuberuntime_termination_order.go). Pure.

A container that is to stop first has its preStop hook, then its turn, then its signal, and in the end its kill. Hook
and turn share the grace period; what is left of it, but two seconds at least, lies between the signal and the kill.
When a whole pod ends, sidecars wait until the app containers and the sidecars after them are gone. Of those that
somebody stops by hand they wait only for others that are stopped so too.

A grace period of 0 means a kill without a signal, as the API has it for ``terminationGracePeriodSeconds``.
"""

from __future__ import annotations

from nsrun.supervisor.facts import ContainerFacts, PodFacts, Role, StopCause
from nsrun.supervisor.lifecycle import ContainerState, PodState

__all__ = ["MINIMUM", "at_once", "ends", "has_turn", "hook_deadline", "kill_at", "last_kill"]

MINIMUM = 2.0
"""Seconds between a container's stop signal and its kill (minimumGracePeriodInSeconds)."""


def ends(facts: PodFacts) -> bool:
    """Whether the whole pod is being stopped."""
    return facts.state in (PodState.FINISHING, PodState.STOPPING)


def at_once(facts: PodFacts, container: ContainerFacts) -> bool:
    """Whether the container is to be killed without being asked."""
    own = container.stop is not None and container.stop.cause is not StopCause.POD and container.stop.at_once
    return own or (ends(facts) and facts.grace_seconds <= 0)


def hook_deadline(facts: PodFacts, container: ContainerFacts) -> float:
    """When its hook and its waiting for others are cut off (seconds since the epoch). The pod's grace can become
    shorter meanwhile, and its end can shorten that of a container that was being stopped already."""
    times = [facts.kill_at] if ends(facts) else []
    if container.stop is not None and (container.stop.cause is not StopCause.POD or not times):
        times.append(container.stop.until)
    return min(times, default=0.0)


def kill_at(facts: PodFacts, container: ContainerFacts) -> float | None:
    """When it is killed; None: not before it was asked."""
    if at_once(facts, container):
        return 0.0
    asked = container.stop.asked_at if container.stop is not None else None
    return None if asked is None else max(hook_deadline(facts, container), asked + MINIMUM)


def last_kill(facts: PodFacts) -> float:
    """When the last container of a pod that ends is killed, if nothing goes wrong."""
    times = [facts.kill_at]
    for container in facts.containers:
        if container.live is not None:
            planned = kill_at(facts, container)
            times.append(hook_deadline(facts, container) + MINIMUM if planned is None else planned)
    return max(times)


def has_turn(facts: PodFacts, container: ContainerFacts, now: float) -> bool:
    """Whether nobody is left that it has to wait for."""
    cause = container.stop.cause if container.stop is not None else None
    if container.role is not Role.SIDECAR or cause not in (StopCause.POD, StopCause.USER):
        return True
    if now >= hook_deadline(facts, container):
        return True
    later = False
    for other in facts.containers:
        before_it = other.role is Role.APP or (later and other.role is Role.SIDECAR)
        before_it = before_it and (cause is StopCause.POD or _is_stopped_by_hand(other))
        if before_it and (other.live is not None or other.state is ContainerState.STARTING):
            return False
        later = later or other.name == container.name
    return True


def _is_stopped_by_hand(container: ContainerFacts) -> bool:
    return container.hold is not None or (container.stop is not None and container.stop.cause is StopCause.USER)
