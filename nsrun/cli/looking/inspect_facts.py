"""What nsrun knows of a pod and its containers besides their documents: processes, cgroups, places on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nsrun.cli.documents import ContainerRow, Document, containers, text_at
from nsrun.cli.lookup import name_of, uid_of
from nsrun.support.layout import Layout

__all__ = ["container_document", "pids_of", "pod_document"]

_SANDBOX = "sandbox"
_MAX_CONFIG = 1 << 22
_PATIENCE = 2.0
"""Seconds that a shim has for each word: it may be stopped."""

Pids = Mapping[str, int]
"""Process ids by what the shim calls them: ``web.2``, the third run of container web; ``sandbox``."""


def pids_of(layout: Layout, uid: str) -> Pids:
    """Of all that runs in a pod, as its shim tells it; nothing when it has none, or it cannot be reached."""
    from nsrun.errors import RuntimeFailure
    from nsrun.runtime.shimsocket import PlainShim, connect
    from nsrun.support.native import abi

    found: dict[str, int] = {}
    try:
        connection = connect(layout.run_pod(uid))
        if connection is None:
            return found
        connection.settimeout(_PATIENCE)
        with PlainShim(connection) as shim:
            serial = shim.ask(abi.NS_REQ_LIST)
            while (message := shim.hear(serial).message).kind == abi.NS_MSG_ENTRY:
                if message.state == abi.NS_STATE_RUNNING:
                    found[message.id] = message.pid
    except (OSError, RuntimeFailure):
        return found
    return found


def pod_document(pod: Document, layout: Layout, pids: Pids) -> Document:
    """The pod's own document, and what nsrun knows as ``nsrun``."""
    uid, netns = uid_of(pod), layout.netns(name_of(pod))
    facts = {
        **_process(pids.get(_SANDBOX)),
        **({"netns": str(netns)} if netns.exists() else {}),
        "runDirectory": str(layout.run_pod(uid)),
        "directory": str(layout.pod(uid)),
        "logDirectory": str(layout.pod_log(name_of(pod), uid)),
        "containers": {text_at(row.spec, "name"): _facts(row, layout, pids) for row in containers([pod])},
    }
    return {**pod, "nsrun": facts}


def container_document(row: ContainerRow, layout: Layout, pids: Pids) -> Document:
    """What the manifest says of a container, its status, what nsrun knows, and its last run's OCI configuration."""
    return {
        "id": row.id,
        "name": text_at(row.spec, "name"),
        "pod": text_at(row.pod, "metadata", "name"),
        "namespace": text_at(row.pod, "metadata", "namespace"),
        "uid": uid_of(row.pod),
        "spec": row.spec,
        "status": row.status,
        "nsrun": _facts(row, layout, pids),
        "config": _config(_run_directory(row, layout) / "config.json"),
    }


def _facts(row: ContainerRow, layout: Layout, pids: Pids) -> Document:
    uid, name, attempt = uid_of(row.pod), text_at(row.spec, "name"), _attempt(row)
    return {
        **_process(pids.get(f"{name}.{attempt}")),
        "attempt": attempt,
        "logPath": str(layout.container_log(name_of(row.pod), uid, name, attempt)),
        "runDirectory": str(_run_directory(row, layout)),
        "upper": str(layout.container(uid, name, attempt) / "upper"),
    }


def _process(pid: int | None) -> dict[str, object]:
    """``rootfs``: the way into its file system from outside."""
    return {} if pid is None else {"pid": pid, "cgroup": _cgroup(pid), "rootfs": f"/proc/{pid}/root"}


def _cgroup(pid: int) -> str:
    """Its path below the hierarchy's root: the unified one's or, where that has no controllers, the memory's."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ""
    paths = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    return paths.get("memory") or paths.get("") or ""


def _run_directory(row: ContainerRow, layout: Layout) -> Path:
    return layout.container_run(uid_of(row.pod), text_at(row.spec, "name"), _attempt(row))


def _attempt(row: ContainerRow) -> int:
    return int(text_at(row.status, "restartCount") or 0)


def _config(path: Path) -> object:
    """None when there is none: it has not run, or its run is forgotten."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_MAX_CONFIG))
    except (OSError, ValueError):
        return None
