"""Which container is meant when none is named: kubectl's rule (podcmd.FindOrDefaultContainerByName). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["DefaultContainer", "default_container"]

_ANNOTATION = "kubectl.kubernetes.io/default-container"


class DefaultContainer(NamedTuple):
    """``name``: None for a pod without any. ``guessed``: there are others, and nobody said that it is this one.
    ``known``: all of them, as kubectl tells them."""

    name: str | None
    guessed: bool
    known: tuple[str, ...]


def default_container(pod: object) -> DefaultContainer:
    """Of a v1.Pod as JSON has it: the one that the annotation names, else the first."""
    names, others = _names(pod, "containers"), _names(pod, "initContainers")
    known = (*names, *(f"{name} (init)" for name in others))
    annotated = _at(_at(_at(pod, "metadata"), "annotations"), _ANNOTATION)
    if isinstance(annotated, str) and annotated in (*names, *others):
        return DefaultContainer(annotated, False, known)
    return DefaultContainer(names[0] if names else None, len(known) > 1, known)


def _names(pod: object, key: str) -> list[str]:
    specs = _at(_at(pod, "spec"), key)
    return [str(_at(spec, "name")) for spec in specs] if isinstance(specs, list) else []


def _at(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None
