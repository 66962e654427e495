"""Which route a request is for: paths as patterns, compared part by part as they were sent.

A path is taken apart before its parts are decoded, so that ``%2F`` in a part never becomes another part."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from nsrun.api.routes import Route

__all__ = ["Match", "RouteTable"]

_PARAMETER = re.compile(r"\{(\w+)(:\.\*)?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The route, and the decoded parts of the path that it names."""

    route: Route
    parameters: Mapping[str, str]


class RouteTable:
    """All routes. A slash at the end of a path makes no difference, but to ``{name:.*}``."""

    def __init__(self, routes: Collection[Route]) -> None:
        self._routes = tuple((_pattern(route.path), route) for route in routes)

    def find(self, method: str, raw_path: str) -> Match | frozenset[str]:
        """``raw_path``: as it was sent, without the query. Without a match: the methods that there are for the path,
        none when nothing is there."""
        methods = set()
        for pattern, route in self._routes:
            found = pattern.fullmatch(raw_path)
            if found is None:
                continue
            if route.method == method:
                decoded = {name: unquote(value or "", errors="replace") for name, value in found.groupdict().items()}
                return Match(route=route, parameters=decoded)
            methods.add(route.method)
        return frozenset(methods)


def _pattern(path: str) -> re.Pattern[str]:
    parts, end = [], 0
    for parameter in _PARAMETER.finditer(path):
        name, rest = parameter.groups()
        parts += [re.escape(path[end : parameter.start()]), f"(?P<{name}>.*)" if rest else f"(?P<{name}>[^/]+)"]
        end = parameter.end()
    tail = re.escape(path[end:].rstrip("/"))
    open_end = path.endswith(":.*}")
    return re.compile("".join(parts) + (tail if open_end else f"{tail}/?"), re.DOTALL)
