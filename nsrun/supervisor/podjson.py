"""The document that lies beside a pod's sandbox: the pod as it was accepted, with its status.

It is an ordinary v1 Pod. The status is kept for what the machine itself would not tell the next supervisor: since when
the pod is active; which containers had ended for good in an earlier sandbox, whose records are gone; why the pod
failed, when its containers did not; and of which runs the postStart hook is done, and the startup probe (``Marks``).
Which containers are to stay stopped no status tells while they are still being stopped: ``stopped``, beside the status,
lists them, and ``withheld`` what the host does not give.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from nsrun.errors import NsrunError
from nsrun.model.decode import decode_pod
from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerId, Exit, ExitReason
from nsrun.model.status import Phase, PodStatus
from nsrun.supervisor.facts import Failure, Marks, Run
from nsrun.support.clock import from_rfc3339

__all__ = ["active_since", "ended_before", "pod_document", "read_marks", "read_pod"]

_PREFIX = "nsrun://"
_HELD = "stopped"
_WITHHELD = "withheld"


def pod_document(
    pod: Pod, status: PodStatus | None, *, held: Collection[str] = (), withheld: Sequence[str] = ()
) -> Mapping[str, object]:
    """What the other functions here read. ``held``: containers that are to stay stopped; ``withheld``: what the host
    does not give."""
    document = dict(encode_pod(pod, status))
    if held:
        document[_HELD] = sorted(held)
    if withheld:
        document[_WITHHELD] = list(withheld)
    return document


def read_pod(document: Mapping[str, object] | None) -> Pod | None:
    """The pod, or None when the document is missing or cannot be understood (an older or newer nsrun wrote it)."""
    if document is None:
        return None
    try:
        return decode_pod(document)
    except (NsrunError, KeyError, TypeError, ValueError):
        return None


def active_since(document: Mapping[str, object] | None) -> float | None:
    """When the pod was taken on, in whole seconds since the epoch; None when it does not say."""
    try:
        return _time(_status(document).get("startTime")) or None
    except ValueError:
        return None


def read_marks(document: Mapping[str, object] | None) -> Marks:
    """The marks. What cannot be understood is left out."""
    status = _status(document)
    failure = None
    if status.get("phase") == Phase.FAILED and status.get("reason"):
        failure = Failure(reason=str(status["reason"]), message=str(status.get("message", "")))
    hooked, up = set[str](), set[str]()
    for entry in (*_entries(status, "initContainerStatuses"), *_entries(status, "containerStatuses")):
        run = str(entry.get("containerID", "")).removeprefix(_PREFIX)
        state = entry.get("state")
        if run and isinstance(state, Mapping) and "running" in state:
            hooked.add(run)
            if entry.get("started") is True:
                up.add(run)
    held, withheld = frozenset(_texts(document, _HELD)), _texts(document, _WITHHELD)
    return Marks(failure=failure, hooked=frozenset(hooked), up=frozenset(up), held=held, withheld=withheld)


def _texts(document: Mapping[str, object] | None, key: str) -> tuple[str, ...]:
    listed = (document or {}).get(key)
    return tuple(text for text in listed if isinstance(text, str)) if isinstance(listed, list) else ()


def ended_before(document: Mapping[str, object] | None, uid: str) -> Mapping[str, Run]:
    """Runs of app containers, by container, that had ended when this was written. What cannot be understood is left
    out."""
    runs = [_run(entry, uid) for entry in _entries(_status(document), "containerStatuses")]
    return {run.id.name: run for run in runs if run is not None}


def _status(document: Mapping[str, object] | None) -> Mapping[str, object]:
    status = (document or {}).get("status")
    return status if isinstance(status, Mapping) else {}


def _entries(status: Mapping[str, object], key: str) -> Iterator[Mapping[str, object]]:
    listed = status.get(key)
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, Mapping):
            yield entry


def _run(entry: Mapping[str, object], uid: str) -> Run | None:
    try:
        state = entry["state"]
        terminated = state["terminated"] if isinstance(state, Mapping) else None
        assert isinstance(terminated, Mapping)
        exit = Exit(
            code=int(terminated["exitCode"]),
            reason=ExitReason(terminated["reason"]),
            started_at=_time(terminated.get("startedAt")),
            finished_at=_time(terminated.get("finishedAt")),
            signal=int(terminated.get("signal", 0)),
            message=str(terminated.get("message", "")),
        )
        return Run(
            id=ContainerId(uid=uid, name=str(entry["name"]), attempt=int(str(entry["restartCount"]))),
            hash=str(terminated.get("containerID", "")).removeprefix(_PREFIX),
            image_reference=str(entry.get("image", "")),
            image_digest=str(entry.get("imageID", "")).rpartition("@")[2],
            started_at=exit.started_at,
            exit=exit,
            removed=True,
        )
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _time(value: object) -> float:
    return from_rfc3339(value) if isinstance(value, str) else 0.0
