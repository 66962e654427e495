"""Which runs' logs are meant. The daemon tells what its pods are doing; while it is down, or does not answer, what lies
on disk is enough: the pods as they were taken on, the logs' files, the records of ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nsrun.cli.documents import ContainerRow, Document, at, containers, find_pod, named, rows_at, text_at
from nsrun.cli.lookup import container_called, kept_pods, name_of, uid_of
from nsrun.cli.selectors import Selection
from nsrun.errors import ApiError, NotFoundError
from nsrun.support.layout import Layout

__all__ = ["Run", "attempt_before", "attempt_of", "choose", "known_pods", "run_of", "why_silent", "why_waiting"]

_PATIENCE = 2.0
"""Seconds that the daemon has to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a container. ``log``: the file it writes to now. ``record``: is there from its end on. ``state``: is
    there until the run is forgotten."""

    row: ContainerRow
    log: Path
    record: Path
    state: Path

    @property
    def title(self) -> str:
        """``pod/web/nginx``, as kubectl labels lines."""
        return f"pod/{text_at(self.row.pod, 'metadata', 'name')}/{text_at(self.row.spec, 'name')}"


def known_pods(layout: Layout) -> tuple[Sequence[Document], Layout]:
    """Every pod, and where the logs are. Raises ApiError when neither the daemon nor the disk knows any."""
    from nsrun.api.client import ApiClient

    api = ApiClient(layout.socket, timeout=_PATIENCE)
    try:
        pods: Sequence[Document] = api.pods()
        return pods, Layout(root=layout.root, run_dir=layout.run_dir, log_dir=Path(str(api.info()["logDir"])))
    except ApiError as error:
        with contextlib.suppress(PermissionError):
            pods = [_as_found(pod, layout) for pod in kept_pods(layout.run_pods)]
            if pods:
                return pods, layout
        raise error


def _as_found(pod: Document, layout: Layout) -> Document:
    """The pod with the last run of each container as the disk tells it."""
    directory = layout.pod_log(name_of(pod), uid_of(pod))
    restarts = text_at(pod, "spec", "restartPolicy") != "Never"
    statuses = {
        key: [_status(layout, directory, uid_of(pod), text_at(spec, "name"), restarts) for spec in rows_at(pod, *specs)]
        for key, specs in (
            ("containerStatuses", ("spec", "containers")),
            ("initContainerStatuses", ("spec", "initContainers")),
        )
    }
    return {**pod, "status": statuses}


def _status(layout: Layout, directory: Path, uid: str, name: str, restarts: bool) -> Mapping[str, object]:
    attempt = max(_attempts(directory / name), default=None)
    if attempt is None:
        return {"name": name, "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}
    ended = (layout.exits(uid) / f"{name}.{attempt}").exists()
    state = ("waiting" if restarts else "terminated") if ended else "running"
    before: object = {"terminated": {}} if attempt > 0 or state == "waiting" else None
    return {"name": name, "restartCount": attempt, "state": {state: {}}, "lastState": before}


def _attempts(directory: Path) -> list[int]:
    """Of the runs that have a log: ``3.log`` → 3."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    heads = (name.removesuffix(".log") for name in names if name.endswith(".log"))
    return [int(head) for head in heads if head.isascii() and head.isdigit()]


def choose(
    pods: Sequence[Document],
    wanted: Sequence[str],
    selection: Selection,
    *,
    container: str | None,
    every_container: bool,
) -> list[ContainerRow]:
    """The containers that are meant: of the pods named, or, when none is, of all that are selected. Raises
    NotFoundError, NsrunError."""
    chosen = [find_pod(pods, name, selection.namespace) for name in wanted] if wanted else selection.of(pods)
    return [row for pod in chosen for row in _containers(pod, container, every=every_container, told=bool(wanted))]


def _containers(pod: Document, name: str | None, *, every: bool, told: bool) -> list[ContainerRow]:
    rows = containers([pod])
    if every:
        return rows
    return [named(rows, container_called(pod, text_at(pod, "metadata", "name"), name, told=told))]


def run_of(row: ContainerRow, layout: Layout, *, previous: bool) -> Run:
    """The last run of a container, or the one before. Raises NotFoundError when there is no such run."""
    attempt = attempt_before(row) if previous else attempt_of(row)
    uid, name = uid_of(row.pod), text_at(row.spec, "name")
    return Run(
        row=row,
        log=layout.container_log(name_of(row.pod), uid, name, attempt),
        record=layout.exits(uid) / f"{name}.{attempt}",
        state=layout.container_run(uid, name, attempt) / "state.json",
    )


def attempt_of(row: ContainerRow) -> int:
    """The number of the last run."""
    return int(text_at(row.status, "restartCount") or 0)


def attempt_before(row: ContainerRow) -> int:
    """The number of the run that the status calls the last one: the one before this one, or, when the container waits
    to run again, the one that ended. Raises NotFoundError when there is none."""
    if at(row.status, "lastState", "terminated") is None:
        name, pod = text_at(row.spec, "name"), text_at(row.pod, "metadata", "name")
        raise NotFoundError(f'cannot read the previous log of container "{name}": it ran only once in pod "{pod}"')
    return attempt_of(row) - (0 if row.state == "waiting" else 1)


def why_waiting(row: ContainerRow) -> str | None:
    """Why there is no log yet."""
    reason, message = (text_at(row.status, "state", "waiting", key) for key in ("reason", "message"))
    return f"{reason}: {message}" if message else reason or None


def why_silent(row: ContainerRow) -> str:
    """Why the last run of the container wrote nothing, when it could not even be started."""
    for state in ("state", "lastState"):
        if text_at(row.status, state, "terminated", "reason") == "StartError":
            return text_at(row.status, state, "terminated", "message")
    return ""
