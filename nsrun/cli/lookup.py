"""Pods by name for commands that go to the pods themselves: of the daemon, or without one of the run directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from nsrun.cli.documents import Document, find_pod, nearest, rows_at, text_at
from nsrun.cli.outcome import say
from nsrun.errors import NotFoundError
from nsrun.model.defaultcontainer import default_container
from nsrun.support.layout import PodName

if TYPE_CHECKING:
    from nsrun.cli.options import Context

__all__ = ["container_called", "kept_pods", "name_of", "pod_called", "read_document", "uid_of"]

_MAX_DOCUMENT = 1 << 22


def pod_called(context: Context, wanted: str, namespace: str | None) -> Document:
    """The pod called ``name`` or ``namespace/name``. Its pods live on while nsrun is down, and so does what reaches
    them without it: then each pod's document is the one that lies beside its sandbox. Raises NotFoundError, NsrunError.
    """
    documents = context.api.pods() if context.api.running() else list(kept_pods(context.layout.run_pods))
    return find_pod(documents, wanted, namespace)


def kept_pods(run_pods: Path) -> Iterator[Document]:
    """Each pod as it was last written down beside its sandbox, by UID."""
    for path in sorted(run_pods.glob("*/pod.json")):
        try:
            yield read_document(path)
        except (OSError, ValueError):
            continue  # it goes just now, or an older nsrun wrote it


def read_document(path: str | PathLike[str]) -> Document:
    """A pod.json. Raises OSError; ValueError when it is none."""
    with open(path, "rb") as file:
        document = json.loads(file.read(_MAX_DOCUMENT))
    if not isinstance(document, dict):
        raise ValueError("a pod is an object")
    return document


def container_called(pod: Document, wanted: str, container: str | None, *, told: bool = True) -> str:
    """The container of this name; without one, that which is meant then. ``told``: a guess is said. ``wanted``: what
    the pod was called. Raises NotFoundError."""
    default = default_container(pod)
    if container is None:
        if default.name is None:
            raise NotFoundError(f'cannot find a container in pod "{wanted}"')
        if default.guessed and told:
            say(f'Defaulted container "{default.name}" out of: {", ".join(default.known)}')
        return default.name
    names = [text_at(spec, "name") for key in ("containers", "initContainers") for spec in rows_at(pod, "spec", key)]
    if container not in names:
        raise NotFoundError(
            f'cannot find container "{container}" in pod "{wanted}"{nearest(container, names)}',
            hint=f"it has: {', '.join(names)}",
        )
    return container


def name_of(pod: Document) -> PodName:
    """The pod's full name."""
    return PodName(namespace=text_at(pod, "metadata", "namespace"), name=text_at(pod, "metadata", "name"))


def uid_of(pod: Document) -> str:
    """The pod's UID."""
    return text_at(pod, "metadata", "uid")
