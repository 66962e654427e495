"""Pods by name for commands that go to the pods themselves: of the daemon, or without one of the run directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from nsrun.cli.documents import Document, find_pod, text_at
from nsrun.cli.options import Context
from nsrun.support.layout import PodName

__all__ = ["kept_pods", "name_of", "pod_called", "uid_of"]

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
            with path.open("rb") as file:
                document = json.loads(file.read(_MAX_DOCUMENT))
        except (OSError, ValueError):
            continue  # it goes just now, or an older nsrun wrote it
        if isinstance(document, dict):
            yield document


def name_of(pod: Document) -> PodName:
    """The pod's full name."""
    return PodName(namespace=text_at(pod, "metadata", "namespace"), name=text_at(pod, "metadata", "name"))


def uid_of(pod: Document) -> str:
    """The pod's UID."""
    return text_at(pod, "metadata", "uid")
