"""Pods of the end-to-end tests that are about how pods live: made from Python values, and looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.e2e.nsrunner import Nsrun, pod_named
from tests.waiting import eventually

__all__ = ["condition", "ended", "events", "phase", "pod", "shell", "status_of", "until"]

Document = dict[str, Any]


def shell(name: str, script: str, **more: Any) -> Document:
    """A busybox container that runs a script. ``more``: fields of the manifest."""
    command = ["/bin/sh", "-c", script]
    return {"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": command, **more}


def pod(name: str, *containers: Document, init: Sequence[Document] = (), **spec: Any) -> str:
    """The manifest. Every container has the emptyDir ``shared`` at /shared."""
    mounts = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "initContainers": [{**mounts, **one} for one in init],
            "containers": [{**mounts, **one} for one in containers],
            "volumes": [{"name": "shared", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 5,
            **spec,
        },
    }
    return json.dumps(document)


def until(nsrun: Nsrun, name: str, check: Callable[[Document], bool], *, seconds: float = 30.0) -> Document:
    """The pod, once ``check`` holds of it."""

    def found() -> Document | None:
        seen = pod_named(nsrun.pods(), name)
        return seen if seen is not None and seen.get("status") and check(seen) else None

    try:
        return eventually(found, seconds=seconds, every=0.05) or {}
    except AssertionError as error:
        shown = pod_named(nsrun.pods(), name)
        raise AssertionError(f"{json.dumps(shown, indent=1)}\n{nsrun.said()[-4000:]}") from error


def phase(name: str) -> Callable[[Document], bool]:
    """A check of the pod's phase."""
    return lambda pod: bool(pod["status"]["phase"] == name)


def status_of(pod: Document, container: str) -> Document:
    """One container's status, of an init container too. Raises KeyError."""
    status = pod["status"]
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if one["name"] == container:
            return dict(one)
    raise KeyError(container)


def ended(container: str, code: int) -> Callable[[Document], bool]:
    """A check that a container ended with a code, and is not run again yet."""

    def check(pod: Document) -> bool:
        terminated = status_of(pod, container)["state"].get("terminated")
        return terminated is not None and terminated["exitCode"] == code

    return check


def condition(pod: Document, type: str) -> Document:
    """One of the pod's conditions. Raises StopIteration."""
    return dict(next(c for c in pod["status"]["conditions"] if c["type"] == type))


def events(nsrun: Nsrun, reason: str) -> list[str]:
    """What the daemon wrote about events for this reason."""
    return [line for line in nsrun.said().splitlines() if f": {reason}: " in line]
