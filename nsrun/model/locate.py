"""Where in a document the field of a value stands."""

from __future__ import annotations

from collections.abc import Iterable

from nsrun.model.fields import Place
from nsrun.model.tree import Entry, ListNode, MapNode, Node, Problem
from nsrun.model.violation import Violation
from nsrun.model.wording import Path, render_path

__all__ = ["locate", "report_violations"]


def report_violations(place: Place, violations: Iterable[Violation], into: list[Problem]) -> None:
    """Adds violations, save those about placeholders: what stands there was reported as broken already."""
    for violation in violations:
        path = (*place.path, *violation.path)
        if any(path[:length] in place.report.faulty for length in range(len(path) + 1)):
            continue
        at = locate(place.node, violation.path, on_key=violation.on_key)
        into.append(Problem(line=at.line, column=at.column, path=render_path(path), text=violation.text))


def locate(node: Node, path: Path, *, on_key: bool = False) -> Node | Entry:
    """What stands at the path, or at the longest part of it that is there."""
    at: Node | Entry = node
    for part in path:
        if isinstance(node, MapNode):
            entry = node.get(str(part))
            if entry is None:
                break
            node, at = entry.value, entry if on_key and part == path[-1] else entry.value
        elif isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
            node = at = node.items[part]
        else:
            break
    return at
