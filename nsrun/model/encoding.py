"""What of a value is written into a JSON object: only what says something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsrun.model.quantity import canonical
from nsrun.model.resources import Quantity, ResourceRequirements

__all__ = ["Json", "known", "quantities", "resources", "said"]

Json = dict[str, Any]


def said(**fields: object) -> Json:
    """The fields that say something: not None, not empty, not 0. An empty string, list or number is never written."""
    return {name: value for name, value in fields.items() if value}


def known(**fields: object) -> Json:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def quantities(values: Mapping[str, Quantity]) -> dict[str, str]:
    return {name: canonical(quantity) for name, quantity in values.items()}


def resources(requirements: ResourceRequirements) -> Json:
    return said(limits=quantities(requirements.limits), requests=quantities(requirements.requests))
