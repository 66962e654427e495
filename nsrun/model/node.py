"""This machine as Kubernetes would describe it: a Node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """``addresses``: of the host, the one pods reach it at first. ``capacity`` and ``allocatable``: thousandths of the
    unit by resource name (``cpu``, ``memory``, ``ephemeral-storage``, ``hugepages-2Mi`` …)."""

    name: str
    addresses: tuple[str, ...] = ()
    capacity: Mapping[str, int] = field(default_factory=dict)
    allocatable: Mapping[str, int] = field(default_factory=dict)
