"""Desired against actual, as a whole: which pods to start, to end, to turn away. Pure; the supervisor acts on it.

Level-triggered: called with all that is wanted and all that is there, whenever either changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from nsrun.model.pod import Pod
from nsrun.supervisor.admission import Admission, Refusal, Room
from nsrun.support.layout import PodName

__all__ = ["Decision", "Incumbent", "Rejection", "reconcile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """A pod, or the remains of one, that is there. ``leaving``: on its way out; ``finished``: it will not run again;
    ``detached``: nor has it a place in the network any more."""

    uid: str
    name: PodName | None
    pod: Pod | None
    leaving: bool = False
    finished: bool = False
    detached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A pod that cannot be taken now."""

    pod: Pod
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do. ``wait``: pods that can start once another with their name or UID is gone. ``queue``: pods for which
    there is room once those that leave are gone. ``keep``: UIDs of pods that go on although nothing readable asks for
    them."""

    start: tuple[Pod, ...] = ()
    refresh: tuple[Pod, ...] = ()
    terminate: tuple[str, ...] = ()
    reject: tuple[Rejection, ...] = ()
    wait: tuple[Pod, ...] = ()
    queue: tuple[Rejection, ...] = ()
    keep: tuple[str, ...] = ()


def reconcile(
    desired: Sequence[Pod],
    incumbents: Collection[Incumbent],
    *,
    admission: Admission,
    keeps: Callable[[Pod], bool] = lambda pod: False,
) -> Decision:
    """The decision. ``keeps`` tells of a pod that is not desired whether it goes on all the same.

    A pod with the UID and the spec of one that is there is that one; any other pod of the same name or UID takes its
    place when it is gone. When there is not room for all, pods that run come before new ones, and earlier ones in
    ``desired`` before later ones; a pod that runs is never asked again whether it may. Room comes free when a pod ends,
    not when it is told to.
    """
    pods, reject = _distinct(desired)
    by_uid = {incumbent.uid: incumbent for incumbent in incumbents}
    stay = {pod.uid: pod for pod in pods if _is_same(by_uid.get(pod.uid), pod)}
    names = {pod.name for pod in pods}
    others = [incumbent for incumbent in incumbents if incumbent.uid not in stay]
    keep = {i.uid for i in others if _is_kept(i, names, keeps)}
    new = [pod for pod in pods if pod.uid not in stay]
    wait = [pod for pod in new if any(i.uid == pod.uid or i.name == pod.name for i in others)]
    room = admission.room()
    for incumbent in (by_uid[uid] for uid in (*stay, *keep)):
        _place(room, incumbent)
    for pod in wait:
        if admission.forbids(pod) is None and room.lacks(pod) is None:
            room.take(pod)
    leaving = [i.pod for i in others if i.uid not in keep and i.pod is not None]
    start, queue, refused = _admit([pod for pod in new if pod not in wait], admission, room, leaving)
    return Decision(
        start=start,
        refresh=tuple(pod for pod in stay.values() if by_uid[pod.uid].pod != pod),
        terminate=tuple(i.uid for i in others if not i.leaving and i.uid not in keep),
        reject=(*reject, *refused),
        wait=tuple(wait),
        queue=queue,
        keep=tuple(keep),
    )


def _place(room: Room, incumbent: Incumbent) -> None:
    """What it still has is not there for others."""
    if incumbent.pod is not None and not incumbent.finished:
        room.take(incumbent.pod)
    elif incumbent.pod is not None and not incumbent.detached:
        room.take_ports(incumbent.pod)


def _distinct(desired: Sequence[Pod]) -> tuple[list[Pod], list[Rejection]]:
    """The first pod of each name and UID. A second one of a name is the source's to report; of a UID, ours."""
    pods: list[Pod] = []
    reject: list[Rejection] = []
    names: set[PodName] = set()
    owners: dict[str, Pod] = {}
    for pod in desired:
        if pod.name in names:
            continue
        names.add(pod.name)
        if pod.uid in owners:
            message = f'the UID "{pod.uid}" belongs to pod "{owners[pod.uid].name}"'
            reject.append(Rejection(pod=pod, reason="DuplicateUID", message=message))
            continue
        owners[pod.uid] = pod
        pods.append(pod)
    return pods, reject


def _is_same(incumbent: Incumbent | None, pod: Pod) -> bool:
    return (
        incumbent is not None
        and incumbent.pod is not None
        and not incumbent.leaving
        and incumbent.name == pod.name
        and incumbent.pod.spec == pod.spec
    )


def _is_kept(incumbent: Incumbent, names: Collection[PodName], keeps: Callable[[Pod], bool]) -> bool:
    pod = incumbent.pod
    return pod is not None and not incumbent.leaving and pod.name not in names and keeps(pod)


def _admit(
    new: Sequence[Pod], admission: Admission, room: Room, leaving: Sequence[Pod]
) -> tuple[tuple[Pod, ...], tuple[Rejection, ...], tuple[Rejection, ...]]:
    """Of the new pods: those that start, those that will when the leaving ones are gone, and those turned away."""
    now = room.copy()  # as it is before the leaving ones are gone
    for pod in leaving:
        now.take(pod, place=False)
    start, queue, refused = [], [], []
    for pod in new:
        refusal = admission.forbids(pod) or room.lacks(pod)
        delay = now.lacks(pod) if refusal is None else None
        if refusal is not None:
            refused.append(_rejection(pod, refusal))
            continue
        room.take(pod)
        now.take(pod)
        if delay is not None:
            queue.append(_rejection(pod, delay))
        else:
            start.append(pod)
    return tuple(start), tuple(queue), tuple(refused)


def _rejection(pod: Pod, refusal: Refusal) -> Rejection:
    return Rejection(pod=pod, reason=refusal.reason, message=refusal.message)
