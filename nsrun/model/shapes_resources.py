"""Resources of containers and pods as a table (core/v1 ResourceRequirements)."""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.model import defaults
from nsrun.model.fields import Refused, Shape, mapping_of, quantity
from nsrun.model.resources import Quantity, ResourceRequirements

__all__ = ["POD_RESOURCES", "RESOURCES"]

CLAIMS = Refused(text="is not supported: nothing here hands out devices")


def _resources(
    requests: Mapping[str, Quantity] | None = None, limits: Mapping[str, Quantity] | None = None
) -> ResourceRequirements:
    limits = limits or {}
    return ResourceRequirements(requests=defaults.requests(requests or {}, limits), limits=limits)


RESOURCES = Shape(
    build=_resources,
    fields={"requests": ("requests", mapping_of(quantity)), "limits": ("limits", mapping_of(quantity))},
    refused={"claims": CLAIMS},
)

POD_RESOURCES = Shape(
    build=ResourceRequirements,
    fields={"requests": ("requests", mapping_of(quantity)), "limits": ("limits", mapping_of(quantity))},
    refused={"claims": CLAIMS},
)
"""Of a whole pod: what it does not ask for depends on its containers."""
