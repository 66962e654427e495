"""What pods are called on the command line. Pure."""

from __future__ import annotations

__all__ = ["pod_name"]

_KINDS = ("pod", "pods", "po")
"""What kubectl calls a pod. A namespace of that name can be meant with -n."""


def pod_name(wanted: str, namespace: str | None) -> tuple[str, str]:
    """Namespace, empty for any, and name of what is called ``name``, ``namespace/name`` or, as ``-o name`` writes it,
    ``pod/name``."""
    where, _, name = wanted.rpartition("/")
    return (where if where not in _KINDS else "") or namespace or "", name
