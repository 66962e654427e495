"""``$(VAR)`` in commands, arguments, values and paths (k8s.io/kubernetes/third_party/forked/golang/expansion)."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["expand", "referred"]

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes its value and stays as it is when there is none; ``$$`` becomes ``$`` and is not looked at
    again."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else values.get(name, match.group(0))

    return _REFERENCE.sub(replacement, text)


def referred(text: str) -> tuple[str, ...]:
    """The names that ``expand`` would look up, in order."""
    return tuple(match.group(1) for match in _REFERENCE.finditer(text) if match.group(1) is not None)
