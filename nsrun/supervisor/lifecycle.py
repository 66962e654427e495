"""The lives of a pod and of a container, as tables.

Rules of this file:

1. Everything about which state may follow which is here, and nothing else is: no times, no processes, no policy.
2. A state changes only through ``pod_after`` and ``container_after``. What the table does not name is a bug of ours:
   InternalError is raised and nothing has changed.
3. The diagrams in ``docs/lifecycle.md`` are drawn from the tables, so they cannot lie.

A pod's state says how much of it stands on the machine; a container's state says what it waits for. Whether a container
runs again is decided in ``restart``, and when in ``backoff``; here are only the consequences.

When a supervisor starts over a machine on which pods run already, a pod is born in the state that fits what was found
(``recovery``): that is the only way into a state besides the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from nsrun.errors import InternalError

__all__ = [
    "CONTAINER_TRANSITIONS",
    "POD_TRANSITIONS",
    "ContainerEvent",
    "ContainerState",
    "PodEvent",
    "PodState",
    "container_after",
    "mermaid",
    "pod_after",
]


class PodState(StrEnum):
    """How much of a pod stands on the machine."""

    STARTING = "Starting"
    """Address, volumes and sandbox are being made; images are pulled meanwhile."""
    RUNNING = "Running"
    """The sandbox stands; containers come and go."""
    RESTARTING = "Restarting"
    """A container's end asks for all of them to be run again: they are stopped, and their records removed."""
    FINISHING = "Finishing"
    """Nothing is run any more; what still runs is stopped."""
    FINISHED = "Finished"
    """No container runs, nor will one. The sandbox is kept, for it holds the records of their exits."""
    RESETTING = "Resetting"
    """The sandbox died; what is left of it is removed before a new one is made."""
    STOPPING = "Stopping"
    """Nothing new is started; containers are asked to stop, then killed."""
    REMOVING = "Removing"
    """No container runs; sandbox, network and volumes are unmade."""
    REMOVED = "Removed"
    """Nothing of the pod is left on the machine."""


class PodEvent(StrEnum):
    """What can happen to a pod."""

    SANDBOX_STARTED = "sandbox started"
    SANDBOX_LOST = "sandbox lost"
    SANDBOX_REMOVED = "sandbox removed"
    RESTART = "restart all"
    CLEARED = "all runs forgotten"
    END = "nothing is to run any more"
    TERMINATE = "terminate"
    CONTAINERS_GONE = "no container runs"
    UNMADE = "everything unmade"


class ContainerState(StrEnum):
    """What a container of a pod waits for."""

    WAITING = "Waiting"
    """For its image."""
    PULL_BACKOFF = "PullBackoff"
    """Until its image is tried again."""
    READY = "Ready"
    """For the pod's sandbox and volumes, and for its turn; the image is there."""
    STARTING = "Starting"
    """For the runtime's answer."""
    START_BACKOFF = "StartBackoff"
    """Until its creation is tried again."""
    POST_START = "PostStart"
    """For its postStart hook; it runs."""
    RUNNING = "Running"
    """For its end."""
    PRE_STOP = "PreStop"
    """For its preStop hook; it is to be stopped."""
    STOPPING = "Stopping"
    """For those that stop before it; then it gets its stop signal."""
    ASKED = "Asked"
    """For its end; it got its stop signal."""
    KILLED = "Killed"
    """For its end; it was killed."""
    CRASH_BACKOFF = "CrashBackoff"
    """Until it is run again after its end."""
    STOPPED = "Stopped"
    """For somebody to start it: it was stopped by hand."""
    FINISHED = "Finished"
    """For nothing: it ended and is not run again."""


class ContainerEvent(StrEnum):
    """What can happen to a container."""

    PULLED = "image ready"
    PULL_FAILED = "image cannot be had"
    RETRY = "backoff over"
    START = "start"
    STARTED = "started"
    HOOKED = "started, with a hook"
    REFUSED = "cannot be created"
    POST_STARTED = "hook done"
    STOP = "stop"
    STOP_HOOKED = "stop, with a hook"
    PRE_STOPPED = "hook over"
    ASKED = "signalled"
    KILLED = "killed"
    ENDED = "ended, to run again"
    FINISHED = "ended for good"
    AGAIN = "all over again"
    HELD = "to stay stopped"
    RELEASED = "started by hand"


POD_TRANSITIONS: Mapping[PodState, Mapping[PodEvent, PodState]] = {
    PodState.STARTING: {
        PodEvent.SANDBOX_STARTED: PodState.RUNNING,
        PodEvent.END: PodState.FINISHING,
        PodEvent.TERMINATE: PodState.STOPPING,
    },
    PodState.RUNNING: {
        PodEvent.SANDBOX_LOST: PodState.RESETTING,
        PodEvent.RESTART: PodState.RESTARTING,
        PodEvent.END: PodState.FINISHING,
        PodEvent.TERMINATE: PodState.STOPPING,
    },
    PodState.RESTARTING: {
        PodEvent.CLEARED: PodState.RUNNING,
        PodEvent.SANDBOX_LOST: PodState.RESETTING,
        PodEvent.END: PodState.FINISHING,
        PodEvent.TERMINATE: PodState.STOPPING,
    },
    PodState.FINISHING: {
        PodEvent.CONTAINERS_GONE: PodState.FINISHED,
        PodEvent.TERMINATE: PodState.STOPPING,
    },
    PodState.FINISHED: {
        PodEvent.TERMINATE: PodState.STOPPING,
    },
    PodState.RESETTING: {
        PodEvent.SANDBOX_REMOVED: PodState.STARTING,
        PodEvent.END: PodState.FINISHING,
        PodEvent.TERMINATE: PodState.STOPPING,
    },
    PodState.STOPPING: {
        PodEvent.CONTAINERS_GONE: PodState.REMOVING,
    },
    PodState.REMOVING: {
        PodEvent.UNMADE: PodState.REMOVED,
    },
    PodState.REMOVED: {},
}

_STOPS: Mapping[ContainerEvent, ContainerState] = {
    ContainerEvent.STOP: ContainerState.STOPPING,
    ContainerEvent.STOP_HOOKED: ContainerState.PRE_STOP,
}
_ENDS: Mapping[ContainerEvent, ContainerState] = {
    ContainerEvent.ENDED: ContainerState.CRASH_BACKOFF,
    ContainerEvent.FINISHED: ContainerState.FINISHED,
}

_HELD: Mapping[ContainerEvent, ContainerState] = {ContainerEvent.HELD: ContainerState.STOPPED}

CONTAINER_TRANSITIONS: Mapping[ContainerState, Mapping[ContainerEvent, ContainerState]] = {
    ContainerState.WAITING: {
        ContainerEvent.PULLED: ContainerState.READY,
        ContainerEvent.PULL_FAILED: ContainerState.PULL_BACKOFF,
        **_HELD,
    },
    ContainerState.PULL_BACKOFF: {
        ContainerEvent.RETRY: ContainerState.WAITING,
        **_HELD,
    },
    ContainerState.READY: {
        ContainerEvent.START: ContainerState.STARTING,
        ContainerEvent.REFUSED: ContainerState.START_BACKOFF,
        **_HELD,
    },
    ContainerState.STARTING: {
        ContainerEvent.STARTED: ContainerState.RUNNING,
        ContainerEvent.HOOKED: ContainerState.POST_START,
        ContainerEvent.REFUSED: ContainerState.START_BACKOFF,
        # The process could not become the container's program: that is a run, and it ended.
        **_ENDS,
    },
    ContainerState.START_BACKOFF: {
        ContainerEvent.RETRY: ContainerState.WAITING,
        **_HELD,
    },
    ContainerState.POST_START: {
        ContainerEvent.POST_STARTED: ContainerState.RUNNING,
        **_STOPS,
        **_ENDS,
    },
    ContainerState.RUNNING: {
        **_STOPS,
        **_ENDS,
    },
    ContainerState.PRE_STOP: {
        ContainerEvent.PRE_STOPPED: ContainerState.STOPPING,
        **_ENDS,
    },
    ContainerState.STOPPING: {
        ContainerEvent.ASKED: ContainerState.ASKED,
        ContainerEvent.KILLED: ContainerState.KILLED,
        **_ENDS,
    },
    ContainerState.ASKED: {
        ContainerEvent.KILLED: ContainerState.KILLED,
        **_ENDS,
    },
    ContainerState.KILLED: {
        **_ENDS,
    },
    ContainerState.CRASH_BACKOFF: {
        ContainerEvent.RETRY: ContainerState.WAITING,
        ContainerEvent.AGAIN: ContainerState.WAITING,
        **_HELD,
    },
    ContainerState.STOPPED: {
        ContainerEvent.RELEASED: ContainerState.WAITING,
        ContainerEvent.AGAIN: ContainerState.WAITING,
    },
    ContainerState.FINISHED: {
        ContainerEvent.RELEASED: ContainerState.WAITING,
        ContainerEvent.AGAIN: ContainerState.WAITING,
    },
}


def pod_after(state: PodState, event: PodEvent) -> PodState:
    """The state that follows. Raises InternalError when the table knows no such step."""
    try:
        return POD_TRANSITIONS[state][event]
    except KeyError:
        raise InternalError(f'a pod that is "{state}" cannot take "{event}"') from None


def container_after(state: ContainerState, event: ContainerEvent) -> ContainerState:
    """The state that follows. Raises InternalError when the table knows no such step."""
    try:
        return CONTAINER_TRANSITIONS[state][event]
    except KeyError:
        raise InternalError(f'a container that is "{state}" cannot take "{event}"') from None


_State = TypeVar("_State", bound=StrEnum)
_Event = TypeVar("_Event", bound=StrEnum)


def mermaid(table: Mapping[_State, Mapping[_Event, _State]]) -> str:
    """A table as a mermaid state diagram, states and events in the order of the table."""
    lines = ["stateDiagram-v2"]
    first = next(iter(table))
    lines.append(f"    [*] --> {first}")
    for state, row in table.items():
        lines += [f"    {state} --> {after}: {event}" for event, after in row.items()]
        if not row:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines) + "\n"
