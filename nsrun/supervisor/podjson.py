"""The document that lies beside a pod's sandbox: the pod as it was accepted, with its status when the sandbox was made.

It is an ordinary v1 Pod. The status is kept for one thing: a sandbox that takes a dead one's place has none of its
records, and a container that had ended for good must not be run again because they are gone.
"""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.errors import NsrunError
from nsrun.model.decode import decode_pod
from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerId, Exit, ExitReason
from nsrun.model.status import PodStatus
from nsrun.supervisor.facts import Run
from nsrun.support.clock import from_rfc3339

__all__ = ["ended_before", "pod_document", "read_pod"]


def pod_document(pod: Pod, status: PodStatus | None) -> Mapping[str, object]:
    """What ``read_pod`` and ``ended_before`` read."""
    return encode_pod(pod, status)


def read_pod(document: Mapping[str, object] | None) -> Pod | None:
    """The pod, or None when the document is missing or cannot be understood (an older or newer nsrun wrote it)."""
    if document is None:
        return None
    try:
        return decode_pod(document)
    except (NsrunError, KeyError, TypeError, ValueError):
        return None


def ended_before(document: Mapping[str, object] | None, uid: str) -> Mapping[str, Run]:
    """Runs, by container, that had ended when this sandbox was made. What cannot be understood is left out."""
    status = (document or {}).get("status")
    listed = status.get("containerStatuses") if isinstance(status, Mapping) else None
    runs = [_run(entry, uid) for entry in listed] if isinstance(listed, list) else []
    return {run.id.name: run for run in runs if run is not None}


def _run(entry: object, uid: str) -> Run | None:
    try:
        assert isinstance(entry, Mapping)
        terminated = entry["state"]["terminated"]
        exit = Exit(
            code=int(terminated["exitCode"]),
            reason=ExitReason(terminated["reason"]),
            started_at=_time(terminated.get("startedAt")),
            finished_at=_time(terminated.get("finishedAt")),
            signal=int(terminated.get("signal", 0)),
            message=str(terminated.get("message", "")),
        )
        return Run(
            id=ContainerId(uid=uid, name=str(entry["name"]), attempt=int(entry["restartCount"])),
            hash=str(terminated.get("containerID", "")).removeprefix("nsrun://"),
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
