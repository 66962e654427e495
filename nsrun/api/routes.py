"""What a route is: method, path, access, handler. A route without an access decision cannot exist.

The routes themselves: ``kubelet_routes.py``, what a kubelet serves; ``own_routes.py``, what only nsrun does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Answer

__all__ = ["Handler", "Route"]

Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation of the API. ``path``: ``{name}`` stands for one part of a path, ``{name:.*}`` for all the rest."""

    method: str
    path: str
    access: Access
    handler: Handler
