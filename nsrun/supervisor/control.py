"""Stop, start and restart of single containers: what a user asks, and how far it is. Pure.

A kubelet has no such thing; this is what users of docker know. What is stopped has its preStop hook, its signal, its
grace period and its kill, and stays stopped, whatever its restart policy, until it is started: a wish (``Hold``) among
the facts, which the tables follow like any other. A restart is a stop without that wish. A start does not wait for a
backoff, and begins every backoff anew.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from nsrun.model.running import ExitReason
from nsrun.supervisor import runs
from nsrun.supervisor.backoff import Crashes, Retry
from nsrun.supervisor.facts import LIVE_STATES, ContainerFacts, Hold, PodFacts, Role, StopCause
from nsrun.supervisor.lifecycle import ContainerEvent, ContainerState, PodState, container_after
from nsrun.supervisor.order import is_initialized, may_start

__all__ = ["Order", "Progress", "Verb", "everyone", "obeyed", "order_of", "progress", "refusal"]

_LEAVING = (PodState.STOPPING, PodState.REMOVING, PodState.REMOVED)
_ENDED = (PodState.FINISHING, PodState.FINISHED)
_BACKOFFS = (ContainerState.PULL_BACKOFF, ContainerState.START_BACKOFF, ContainerState.CRASH_BACKOFF)
_UNSTOPPED = (ContainerState.POST_START, ContainerState.RUNNING)


class Verb(StrEnum):
    """What can be asked for."""

    STOP = "stop"
    START = "start"
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One container is to be stopped, started or restarted. ``after``: the number of the last run that does not count
    as what was asked for; -1 for none."""

    container: str
    verb: Verb
    after: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is. ``waits_for``: what comes first, as in "waits for …". ``failure``: why it was not done, "" when it
    was, or may still be."""

    container: str
    done: bool = False
    waits_for: str = ""
    failure: str = ""


# --- asking


def everyone(facts: PodFacts) -> tuple[str, ...]:
    """The containers that are meant when none is named: all but init containers that are over."""
    return tuple(c.name for c in facts.containers if not _is_over(c))


def refusal(facts: PodFacts, container: ContainerFacts, verb: Verb) -> str | None:
    """Why it cannot be done, or None."""
    if facts.pod is None or facts.state in _LEAVING:
        return "its pod is being removed"
    if _is_over(container):
        return "it is an init container that is over"
    if facts.state in _ENDED and verb is not Verb.STOP:
        return "its pod has ended"
    return None


def order_of(container: ContainerFacts, verb: Verb) -> Order:
    """The order, before it is obeyed. What runs already, and is to, was started."""
    last = container.run.id.attempt if container.run is not None else -1
    runs_on = verb is Verb.START and container.state in _UNSTOPPED
    return Order(container=container.name, verb=verb, after=last - runs_on)


def obeyed(facts: PodFacts, name: str, verb: Verb, now: float, grace: float | None) -> PodFacts:
    """The facts when it was asked for. ``grace``: seconds that a stop may take, None for what the manifest says."""
    if facts.state in _ENDED:
        return facts

    def change(container: ContainerFacts) -> ContainerFacts:
        match verb:
            case Verb.STOP:
                return _stopped(facts, container, now, grace)
            case Verb.START:
                return _released(container)
            case Verb.RESTART:
                return _restarted(facts, container, now, grace)

    return runs.changed(facts, name, change)


def _stopped(facts: PodFacts, container: ContainerFacts, now: float, grace: float | None) -> ContainerFacts:
    if container.state is ContainerState.FINISHED and facts.state is not PodState.RESTARTING:
        return container
    return _hastened(facts, replace(container, hold=Hold(grace=grace)), now, grace)


def _hastened(facts: PodFacts, container: ContainerFacts, now: float, grace: float | None) -> ContainerFacts:
    """A stop that is under way is somebody's wish now, and takes no more time than they give it."""
    stop = container.stop
    if container.live is None or stop is None or stop.cause is StopCause.RESTART:
        return container
    wish = runs.stop_by_hand(facts, container.name, now, grace)
    sooner = replace(wish, until=min(stop.until, wish.until), at_once=stop.at_once or wish.at_once)
    return replace(container, stop=replace(sooner, asked_at=stop.asked_at))


def _released(container: ContainerFacts) -> ContainerFacts:
    """Not held any more, and nothing that it waited for after a failure holds it either. If it is being stopped it runs
    again then, whatever its restart policy."""
    container = _let_go(container)
    if container.live is not None and container.stop is not None and container.stop.cause is not StopCause.RESTART:
        return replace(container, stop=replace(container.stop, cause=StopCause.USER))
    if container.state in _BACKOFFS:
        event = ContainerEvent.RETRY
    elif container.state in (ContainerState.STOPPED, ContainerState.FINISHED):
        event = ContainerEvent.RELEASED
    else:
        return container
    return replace(
        container,
        state=container_after(container.state, event),
        until=0.0,
        problem=None,
        pulls=Retry(),
        starts=Retry(),
        crashes=Crashes(),
    )


def _restarted(facts: PodFacts, container: ContainerFacts, now: float, grace: float | None) -> ContainerFacts:
    if container.state not in LIVE_STATES:
        return _released(container)
    container = _let_go(container)
    if container.state in _UNSTOPPED:
        return runs.begin_stop(facts, container, runs.stop_by_hand(facts, container.name, now, grace))
    return _hastened(facts, container, now, grace)


def _let_go(container: ContainerFacts) -> ContainerFacts:
    released = container.state not in _UNSTOPPED and (container.released or container.hold is not None)
    return replace(container, hold=None, released=released)


def _is_over(container: ContainerFacts) -> bool:
    return container.role is Role.INIT and container.initialized


# --- how far it is


def progress(facts: PodFacts, order: Order) -> Progress:
    """How far an order is that was obeyed."""
    container = facts.container(order.container)
    assert container is not None
    if order.verb is Verb.STOP:
        return _stop_progress(facts, container)
    return _start_progress(facts, container, order.after)


def _stop_progress(facts: PodFacts, container: ContainerFacts) -> Progress:
    name = container.name
    if facts.state in (*_LEAVING, *_ENDED):
        if container.live is None or facts.state is PodState.REMOVED:
            return Progress(container=name, done=True)
    elif container.state is ContainerState.STOPPED and not (name in facts.recorded.held or facts.retries):
        return Progress(container=name, waits_for="its pod's sandbox, where that is written down")
    elif container.state in (ContainerState.STOPPED, ContainerState.FINISHED):
        return Progress(container=name, done=True)
    elif container.hold is None:
        return Progress(container=name, failure="somebody started it meanwhile")
    return Progress(container=name, waits_for=_end_waits_for(container))


def _end_waits_for(container: ContainerFacts) -> str:
    match container.state:
        case ContainerState.PRE_STOP:
            return "its preStop hook"
        case ContainerState.STOPPING:
            return "its turn"
        case ContainerState.ASKED:
            return "its end, after the stop signal"
        case ContainerState.KILLED:
            return "its end, after SIGKILL"
        case _:
            return "the stop to begin"


def _start_progress(facts: PodFacts, container: ContainerFacts, after: int) -> Progress:
    name, run, problem = container.name, container.run, container.problem
    failure = ""
    if container.hold is not None:
        failure = "somebody stopped it meanwhile"
    elif run is not None and run.id.attempt > after:
        if run.exit is not None and run.exit.reason is ExitReason.START_ERROR:
            failure = run.exit.message
        elif container.stop is not None and container.stop.cause is StopCause.HOOK:
            failure = "its postStart hook failed"
        elif container.state is not ContainerState.POST_START:
            return _told(facts, name)
    elif facts.pod is None or facts.state in (*_LEAVING, *_ENDED):
        failure = "its pod ends"
    elif container.state in (ContainerState.PULL_BACKOFF, ContainerState.START_BACKOFF) and problem is not None:
        failure = problem.message or problem.reason
    if failure:
        return Progress(container=name, failure=failure)
    return Progress(container=name, waits_for=_start_waits_for(facts, container))


def _told(facts: PodFacts, name: str) -> Progress:
    """Started; and done when a supervisor that comes now would not take it for stopped."""
    if facts.sandbox is not None and name in facts.recorded.held and facts.state not in _LEAVING:
        return Progress(container=name, waits_for="its state to be written down")
    return Progress(container=name, done=True)


def _start_waits_for(facts: PodFacts, container: ContainerFacts) -> str:
    if container.state in LIVE_STATES:
        return "its postStart hook" if container.state is ContainerState.POST_START else _end_waits_for(container)
    if container.state is ContainerState.WAITING:
        return "its image"
    if facts.state is not PodState.RUNNING:
        return "its pod's sandbox"
    if container.state is ContainerState.READY and not may_start(facts, container):
        initialized = is_initialized(facts)
        return "the containers before it" if initialized else f"init container {_first(facts.containers)}"
    return "its process"


def _first(containers: Collection[ContainerFacts]) -> str:
    return next((c.name for c in containers if c.role is not Role.APP and not c.initialized), "")
