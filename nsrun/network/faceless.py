"""pyroute2 without its face.

``import pyroute2`` imports all that pyroute2 is: a database of the network, process pools, remote shells: 10 MiB and a
tenth of a second, of which ``netlink`` needs the layout of six messages. A package module that was found but not
executed lets its subpackages be imported alone. Importing this module before the first of them is all there is to do.
"""

from __future__ import annotations

import importlib.util
import sys

__all__: list[str] = []


def _enter_without_face(name: str) -> None:
    """Does nothing when somebody has the whole package already, or when there is none (the import will say so)."""
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is not None:
        sys.modules[name] = importlib.util.module_from_spec(spec)


_enter_without_face("pyroute2")
