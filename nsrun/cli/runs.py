"""The run of a container that is meant, found in the run directory: commands that go to a pod's shim work without a
daemon, and have no time to ask one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from nsrun.cli.documents import Document, pod_name, rows_at, text_at
from nsrun.errors import NotFoundError, NsrunError, describe_errno
from nsrun.support.layout import Layout

__all__ = ["Run", "find_run"]

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_MAX_DOCUMENT = 1 << 22


class Run(NamedTuple):
    """One run of one container. ``key``: its name at the shim."""

    uid: str
    container: str
    attempt: int

    @property
    def key(self) -> str:
        return f"{self.container}.{self.attempt}"


def find_run(layout: Layout, wanted: str, namespace: str | None, container: str | None) -> Run:
    """The last run of a container of the pod called ``name`` or ``namespace/name``. Without ``container``: the one that
    the pod's annotation names, or its first, which is said when there are more. Raises NotFoundError, NsrunError."""
    try:
        uid = _uid(layout, wanted, namespace)
        pod = _document(layout.pod_json(uid))
        name = _choose(pod, wanted, container)
        attempts = _attempts(layout.run_pod(uid) / "containers" / name)
    except PermissionError as error:
        raise NsrunError(f'cannot look for pod "{wanted}": permission denied', hint="use sudo") from error
    except (OSError, ValueError) as error:
        cause = describe_errno(error.errno or 0) if isinstance(error, OSError) else "its pod.json is none"
        raise NsrunError(f'cannot look for pod "{wanted}": {cause}') from error
    if not attempts:
        raise NsrunError(f'cannot reach container "{name}": it has not run yet', hint="nsrun pods tells why")
    return Run(uid, name, max(attempts))


def _uid(layout: Layout, wanted: str, namespace: str | None) -> str:
    where, name = pod_name(wanted, namespace)
    try:
        links = [link for link in os.listdir(layout.run_names) if link.rpartition("_")[2] == name]
    except FileNotFoundError:
        links = []
    found = [link for link in links if where in ("", link.rpartition("_")[0])]
    if len(found) > 1:
        places = ", ".join(sorted(link.rpartition("_")[0] for link in found))
        raise NsrunError(
            f'cannot choose pod "{wanted}": it is in several namespaces: {places}', hint="name one with -n"
        )
    if not found:
        raise NotFoundError(f'cannot find pod "{wanted}": none of this name runs here', hint="nsrun pods lists them")
    return os.path.basename(os.readlink(layout.run_names / found[0]))


def _document(path: Path) -> Document:
    with open(path, "rb") as file:
        document = json.loads(file.read(_MAX_DOCUMENT))
    return document if isinstance(document, dict) else {}


def _choose(pod: Document, wanted: str, container: str | None) -> str:
    names = [text_at(spec, "name") for spec in rows_at(pod, "spec", "containers")]
    others = [text_at(spec, "name") for spec in rows_at(pod, "spec", "initContainers")]
    if container is not None:
        if container not in (*names, *others):
            raise NotFoundError(
                f'cannot find container "{container}" in pod "{wanted}"', hint=f"it has: {', '.join((*names, *others))}"
            )
        return container
    if not names:
        raise NotFoundError(f'cannot find a container in pod "{wanted}"')
    annotated = text_at(pod, "metadata", "annotations", _DEFAULT_CONTAINER)
    if annotated in names:
        return annotated
    _tell_default(names, others)
    return names[0]


def _tell_default(names: Sequence[str], others: Sequence[str]) -> None:
    known = [*names, *(f"{name} (init)" for name in others)]
    if len(known) > 1:
        click.echo(f'Defaulted container "{names[0]}" out of: {", ".join(known)}', err=True)


def _attempts(directory: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(directory) if name.isdigit()]
    except FileNotFoundError:
        return []
