"""What handlers are given: a request as a value. Only the server reads from a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that was admitted. ``parameters``: the parts of the path that the route names. ``query``: every value
    of every name, in order. ``headers``: names in lower case, several of one name joined with commas. ``body``: whole,
    and empty for a request that asks for an upgrade."""

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def first(self, name: str) -> str | None:
        """The first value of a name in the query, None without one."""
        values = self.query.get(name, ())
        return values[0] if values else None

    def seconds(self, name: str) -> float | None:
        """The same as a span of time, in seconds. Raises ValueError with a sentence."""
        given = self.first(name)
        if given is None:
            return None
        try:
            seconds = float(given)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"{name} must be a number of seconds")
        return seconds
