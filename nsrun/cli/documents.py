"""Pods as the API gives them: typed ways into v1.Pod documents, and what kubectl's columns say about them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from nsrun.cli.podnames import pod_name
from nsrun.errors import NotFoundError, NsrunError

__all__ = [
    "ContainerRow",
    "at",
    "containers",
    "find_pod",
    "is_called",
    "named",
    "nearest",
    "pod_status",
    "ready",
    "render",
    "restarts",
    "text_at",
]

Document = Mapping[str, object]


def at(document: object, *path: str | int) -> object:
    """The value at a path of keys and indices, None when there is none. Of JSON, which has dicts and lists alone: asked
    for ten thousand times, ``Mapping`` takes its time."""
    for step in path:
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and isinstance(step, int) and step < len(document):
            document = document[step]
        else:
            return None
    return document


def text_at(document: object, *path: str | int) -> str:
    """The same as text, empty when there is nothing."""
    value = at(document, *path)
    return "" if value is None else str(value)


def rows_at(document: object, *path: str | int) -> Sequence[Document]:
    """The same as a list of objects."""
    value = at(document, *path)
    return cast("Sequence[Document]", value) if isinstance(value, list) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRow:
    """One container and its pod. ``init``: an init container, or a sidecar."""

    pod: Document
    spec: Document
    status: Document
    init: bool = False

    @property
    def state(self) -> str:
        """running, waiting or terminated."""
        state = at(self.status, "state")
        return next(iter(state), "waiting") if isinstance(state, dict) else "waiting"

    @property
    def id(self) -> str:
        return text_at(self.status, "containerID").removeprefix("nsrun://")


def containers(pods: Sequence[Document]) -> list[ContainerRow]:
    """Every container of every pod; of each pod its init containers last."""
    kinds = (("containers", "containerStatuses", False), ("initContainers", "initContainerStatuses", True))
    return [
        ContainerRow(pod=pod, spec=spec, status=_status_of(pod, statuses, text_at(spec, "name")), init=init)
        for pod in pods
        for specs, statuses, init in kinds
        for spec in rows_at(pod, "spec", specs)
    ]


def _status_of(pod: Document, statuses: str, name: str) -> Document:
    for status in rows_at(pod, "status", statuses):
        if status.get("name") == name:
            return status
    return {}


def find_pod(pods: Sequence[Document], wanted: str, namespace: str | None) -> Document:
    """The pod called ``name``, ``namespace/name`` or, as ``-o name`` writes it, ``pod/name``. Raises NotFoundError, and
    NsrunError when two fit."""
    found = [pod for pod in pods if is_called(pod, wanted, namespace)]
    if not found:
        near = nearest(
            wanted, _full_names(pods) if "/" in wanted else [text_at(pod, "metadata", "name") for pod in pods]
        )
        raise NotFoundError(f'cannot find pod "{wanted}"{near}', hint="nsrun pods lists them")
    if len(found) > 1:
        places = ", ".join(sorted(text_at(pod, "metadata", "namespace") for pod in found))
        raise NsrunError(
            f'cannot choose pod "{wanted}": it is in several namespaces: {places}', hint="name one with -n"
        )
    return found[0]


def is_called(pod: Document, wanted: str, namespace: str | None = None) -> bool:
    """Whether this is the pod called ``name``, ``namespace/name`` or ``pod/name``."""
    where, name = pod_name(wanted, namespace)
    return text_at(pod, "metadata", "name") == name and where in ("", text_at(pod, "metadata", "namespace"))


def _full_names(pods: Sequence[Document]) -> list[str]:
    return [f"{text_at(pod, 'metadata', 'namespace')}/{text_at(pod, 'metadata', 'name')}" for pod in pods]


def named(rows: Sequence[ContainerRow], name: str) -> ContainerRow:
    """The container of that name among those of one pod. Raises NotFoundError."""
    names = [text_at(row.spec, "name") for row in rows]
    if name not in names:
        pod = text_at(rows[0].pod, "metadata", "name")
        raise NotFoundError(
            f'cannot find container "{name}" in pod "{pod}"{nearest(name, names)}', hint=f"it has: {', '.join(names)}"
        )
    return rows[names.index(name)]


def nearest(word: str, known: Iterable[str]) -> str:
    """``: did you mean "web"?`` when a known word is near, else nothing."""
    from nsrun.model.wording import suggestion

    return suggestion(word, known)


def ready(pod: Document) -> str:
    """``1/2``: app containers and sidecars."""
    statuses = [*rows_at(pod, "status", "containerStatuses"), *(status for _, status in _sidecars(pod))]
    number = len(rows_at(pod, "spec", "containers")) + len(_sidecars(pod))
    return f"{sum(status.get('ready') is True for status in statuses)}/{number}"


def restarts(pod: Document) -> int:
    """Of all containers; once the pod is initialized, those of its init containers are past."""
    statuses = [*rows_at(pod, "status", "containerStatuses"), *(status for _, status in _sidecars(pod))]
    if _initializing(pod):
        statuses = [*rows_at(pod, "status", "containerStatuses"), *rows_at(pod, "status", "initContainerStatuses")]
    return sum(int(text_at(status, "restartCount") or 0) for status in statuses)


def pod_status(pod: Document) -> str:
    """kubectl's STATUS column (printers.go, printPod): the phase, or the reason of whatever is wrong.

    Unlike kubectl's, ours keeps the reason of a whole pod (``Evicted``) whatever its containers say."""
    terminal = text_at(pod, "status", "phase") in ("Succeeded", "Failed")
    if at(pod, "metadata", "deletionTimestamp") is not None and not terminal:
        return "Terminating"
    return text_at(pod, "status", "reason") or _initializing(pod) or _by_containers(pod)


def _by_containers(pod: Document) -> str:
    reason, running = text_at(pod, "status", "phase"), False
    for status in reversed(rows_at(pod, "status", "containerStatuses")):
        waiting, ended = at(status, "state", "waiting"), at(status, "state", "terminated")
        if waiting is not None and text_at(waiting, "reason"):
            reason = text_at(waiting, "reason")
        elif ended is not None and text_at(ended, "reason"):
            reason = text_at(ended, "reason")
        elif at(status, "state", "running") is not None:
            running = True
    return "Running" if reason == "Completed" and running else reason


def _initializing(pod: Document) -> str:
    """``Init:0/2`` or ``Init:<reason>`` until the pod is initialized; empty from then on."""
    initialized = [c for c in rows_at(pod, "status", "conditions") if c.get("type") == "Initialized"]
    if any(condition.get("status") == "True" for condition in initialized):
        return ""
    statuses = rows_at(pod, "status", "initContainerStatuses")
    sidecars = {text_at(spec, "name") for spec, _ in _sidecars(pod)}
    for number, status in enumerate(statuses):
        if at(status, "state", "terminated", "exitCode") == 0:
            continue
        if text_at(status, "name") in sidecars and status.get("started") is True:
            continue
        reasons = [text_at(status, "state", state, "reason") for state in ("terminated", "waiting")]
        reason = next((reason for reason in reasons if reason not in ("", "PodInitializing")), "")
        return f"Init:{reason}" if reason else f"Init:{number}/{len(statuses)}"
    return ""


def _sidecars(pod: Document) -> list[tuple[Document, Document]]:
    """Each with its status."""
    specs = (c for c in rows_at(pod, "spec", "initContainers") if c.get("restartPolicy") == "Always")
    return [(spec, _status_of(pod, "initContainerStatuses", text_at(spec, "name"))) for spec in specs]


def render(documents: object, output: str) -> str:
    """``-o json`` and ``-o yaml``."""
    if output == "json":
        return json.dumps(documents, indent=4)
    return _yaml(documents)


def _yaml(documents: object) -> str:
    """YAML as Kubernetes reads it: its parser takes a bare ``y`` or ``n`` for a boolean, which PyYAML does not know."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def represent_text(self, text: str) -> yaml.Node:
            style = '"' if text.lower() in ("y", "n") else None
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, Dumper.represent_text)
    return yaml.dump(documents, Dumper=Dumper, sort_keys=False, default_flow_style=False).rstrip("\n")
