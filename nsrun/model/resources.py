"""Compute resources: quantities, requests and limits, and the QoS class that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["QosClass", "Quantity", "ResourceRequirements"]


class QosClass(StrEnum):
    """Kubernetes' quality-of-service classes."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Quantity:
    """A resource.Quantity: its value in thousandths of the unit, and the text it was written as.

    ``milli`` is rounded up as the API server does: ``100m`` → 100, ``1Gi`` → 1073741824000.
    """

    milli: int
    text: str = field(compare=False)

    @property
    def value(self) -> int:
        """Whole units, rounded up: bytes for memory, cores for cpu."""
        return -(-self.milli // 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequirements:
    """Requests and limits by resource name (``cpu``, ``memory``, ``hugepages-2Mi`` …)."""

    requests: Mapping[str, Quantity] = field(default_factory=dict)
    limits: Mapping[str, Quantity] = field(default_factory=dict)
