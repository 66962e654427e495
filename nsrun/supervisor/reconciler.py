"""Desired against actual, as a whole: which pods to start, to end, to turn away. Pure; the supervisor acts on it.

Level-triggered: called with all that is wanted and all that is there, whenever either changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from nsrun.model.pod import Pod
from nsrun.support.layout import PodName

__all__ = ["Decision", "Incumbent", "Rejection", "reconcile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """A pod, or the remains of one, that is there. ``leaving``: on its way out; ``finished``: it will not run again."""

    uid: str
    name: PodName | None
    pod: Pod | None
    leaving: bool = False
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A pod that cannot be taken now."""

    pod: Pod
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do. ``wait``: pods that can start once another with their name or UID is gone. ``keep``: UIDs of pods
    that go on although nothing readable asks for them."""

    start: tuple[Pod, ...] = ()
    refresh: tuple[Pod, ...] = ()
    terminate: tuple[str, ...] = ()
    reject: tuple[Rejection, ...] = ()
    wait: tuple[Pod, ...] = ()
    keep: tuple[str, ...] = ()


def reconcile(
    desired: Sequence[Pod],
    incumbents: Collection[Incumbent],
    *,
    max_pods: int,
    keeps: Callable[[Pod], bool] = lambda pod: False,
) -> Decision:
    """The decision. ``keeps`` tells of a pod that is not desired whether it goes on all the same.

    A pod with the UID and the spec of one that is there is that one; any other pod of the same name or UID takes its
    place when it is gone. When there is not room for all, pods that run come before new ones, and earlier ones in
    ``desired`` before later ones.
    """
    pods, reject = _distinct(desired)
    by_uid = {incumbent.uid: incumbent for incumbent in incumbents}
    stay = {pod.uid: pod for pod in pods if _is_same(by_uid.get(pod.uid), pod)}
    names = {pod.name for pod in pods}
    others = [incumbent for incumbent in incumbents if incumbent.uid not in stay]
    keep = {i.uid for i in others if _is_kept(i, names, keeps)}
    new = [pod for pod in pods if pod.uid not in stay]
    wait = [pod for pod in new if any(i.uid == pod.uid or i.name == pod.name for i in others)]
    room = max_pods - len(wait) - sum(not by_uid[uid].finished for uid in (*stay, *keep))
    start = [pod for pod in new if pod not in wait]
    admitted, surplus = start[: max(room, 0)], start[max(room, 0) :]
    used = max_pods - room + len(admitted)
    return Decision(
        start=tuple(admitted),
        refresh=tuple(pod for pod in stay.values() if by_uid[pod.uid].pod != pod),
        terminate=tuple(i.uid for i in others if not i.leaving and i.uid not in keep),
        reject=(*reject, *(_out_of_pods(pod, used, max_pods) for pod in surplus)),
        wait=tuple(wait),
        keep=tuple(keep),
    )


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


def _out_of_pods(pod: Pod, used: int, capacity: int) -> Rejection:
    """lifecycle/predicate.go, InsufficientResourceError."""
    return Rejection(
        pod=pod,
        reason="OutOfpods",
        message=f"Node didn't have enough resource: pods, requested: 1, used: {used}, capacity: {capacity}",
    )
