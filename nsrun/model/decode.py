"""The text of a manifest file → its pods, with everything there is to say about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nsrun.errors import ManifestError
from nsrun.model.document import parse_documents
from nsrun.model.fields import Place, Report, describe
from nsrun.model.pod import Pod
from nsrun.model.shapes import POD
from nsrun.model.tree import Document, Entry, ListNode, MapNode, Node, Problem, ScalarNode
from nsrun.model.uid import identify
from nsrun.model.validate import validate, warnings
from nsrun.model.violation import Violation
from nsrun.model.wording import Path, quoted, render_path, suggestion

__all__ = ["Manifest", "PlacedPod", "decode_pod", "parse_manifest"]

LISTS = ("List", "PodList")
MOST_PROBLEMS = 100
"""More than this many lines about one file help nobody."""
MOST_NAMED = 30
"""Nor do more than this many fields in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPod:
    """A pod and where its name stands."""

    pod: Pod
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A file, read. ``problems`` and ``warnings`` are lines, in file order; ``pods`` those that have no problem."""

    pods: tuple[PlacedPod, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def parse_manifest(data: bytes, *, file: str, node_name: str, origin: str, json_only: bool = False) -> Manifest:
    """Reads every pod in a file. ``file``: its name in messages; ``origin``: its absolute path, part of the pods' UIDs.

    Every document stands for itself: a pod is there when its own document has no problem. Never raises.
    """
    report = Report(node_name=node_name)
    pods: list[PlacedPod] = []
    for document in parse_documents(data, json_only=json_only):
        for placed in _pods(document, report):
            pod = identify(placed.pod, node_name=node_name, origin=origin)
            pods.append(PlacedPod(pod=pod, line=placed.line, column=placed.column))
    return Manifest(
        pods=tuple(pods),
        problems=_rendered(report.problems, file, "problems"),
        warnings=_rendered(report.warnings, file, "warnings"),
    )


def decode_pod(document: Mapping[str, object]) -> Pod:
    """A pod from the object that ``encode_pod`` made of it; its UID is kept. Raises ManifestError."""
    report = Report()
    pod = _pod(Place(_node(document), (), report))
    if pod is None:
        raise ManifestError(tuple(problem.render("pod") for problem in report.problems))
    return pod


def _rendered(problems: list[Problem], file: str, kind: str) -> tuple[str, ...]:
    lines = [problem.render(file) for problem in sorted(set(problems))]
    if len(lines) > MOST_PROBLEMS:
        lines[MOST_PROBLEMS:] = [f"{file}: {len(lines) - MOST_PROBLEMS} more {kind} are not shown"]
    return tuple(lines)


def _pods(document: Document, report: Report) -> Iterator[PlacedPod]:
    """The pods of one document. Nothing of it is taken when its text itself is at fault."""
    report.problems.extend(document.problems)
    if document.root is None:
        return
    own = Report(warnings=report.warnings, node_name=report.node_name)
    placed = [pod for pod in _objects(Place(document.root, (), own)) if pod is not None]
    report.warnings.extend(_without_effect(own.inert))
    said = {(problem.line, problem.column) for problem in document.problems}
    report.problems.extend(problem for problem in own.problems if (problem.line, problem.column) not in said)
    if not document.problems:
        yield from placed


def _without_effect(fields: list[Problem]) -> Iterator[Problem]:
    """One line about all the fields of a document that say nothing to a single node."""
    if not fields:
        return
    first, *others = sorted(set(fields))
    named = [first.path, *(f"{other.path} (line {other.line})" for other in others[: MOST_NAMED - 1])]
    more = f" and {len(others) + 1 - MOST_NAMED} more" if len(others) >= MOST_NAMED else ""
    verb = "have" if others else "has"
    text = f"{', '.join(named)}{more} {verb} no effect here, ignored"
    yield Problem(line=first.line, column=first.column, path="", text=text)


def _objects(place: Place) -> Iterator[PlacedPod | None]:
    """One object: a pod, a list of pods, or something that is not for nsrun."""
    if not isinstance(place.node, MapNode):
        if not (isinstance(place.node, ScalarNode) and place.node.value is None):
            place.problem(f"must be a mapping, not {describe(place.node)}")
        return
    entry = place.node.get("kind")
    kind = entry.value.value if entry is not None and isinstance(entry.value, ScalarNode) else "Pod"
    if kind in LISTS and not place.path:
        yield from _items(place, place.node)
    elif entry is None or not isinstance(kind, str) or kind == "Pod" or suggestion(kind, ["Pod"]):
        pod = _pod(place)
        yield None if pod is None else _placed(pod, place.node)
    else:
        place.warning(f"{quoted(kind)} is not supported, skipped", at=entry)


def _items(place: Place, node: MapNode) -> Iterator[PlacedPod | None]:
    entry = node.get("items")
    if entry is None or not isinstance(entry.value, ListNode):
        what = "is required" if entry is None else f"must be a list, not {describe(entry.value)}"
        place.child("items", node if entry is None else entry.value).problem(what)
        return
    is_pods = _text(node, "kind") == "PodList"
    for index, item in enumerate(entry.value.items):
        if is_pods and isinstance(item, MapNode):
            item = _typed(item)
        yield from _objects(place.child("items", entry.value).child(index, item))


def _text(node: MapNode, key: str) -> object:
    entry = node.get(key)
    return entry.value.value if entry is not None and isinstance(entry.value, ScalarNode) else None


def _typed(item: MapNode) -> MapNode:
    """An item of a PodList need not say what it is."""
    missing = tuple(
        Entry(line=item.line, column=item.column, key=key, value=_node(value))
        for key, value in (("apiVersion", "v1"), ("kind", "Pod"))
        if item.get(key) is None
    )
    entries = (*missing, *item.entries)
    return MapNode(line=item.line, column=item.column, entries=entries, size=item.size, height=item.height)


def _placed(pod: Pod, node: MapNode) -> PlacedPod:
    name = _locate(node, ("metadata", "name"))
    return PlacedPod(pod=pod, line=name.line, column=name.column)


def _pod(place: Place) -> Pod | None:
    """The pod at a place, None when it has a problem."""
    before = len(place.report.problems)
    pod = POD(place)
    _report(place, validate(pod), place.report.problems)
    if len(place.report.problems) > before:
        return None
    _report(place, warnings(pod), place.report.warnings)
    return pod


def _report(place: Place, violations: Iterable[Violation], into: list[Problem]) -> None:
    """Adds violations, save those about placeholders: what stands there was reported as broken already."""
    for violation in violations:
        path = (*place.path, *violation.path)
        if any(path[:length] in place.report.faulty for length in range(len(path) + 1)):
            continue
        at = _locate(place.node, violation.path, on_key=violation.on_key)
        into.append(Problem(line=at.line, column=at.column, path=render_path(path), text=violation.text))


def _locate(node: Node, path: Path, *, on_key: bool = False) -> Node | Entry:
    """What stands at the path, or at the longest part of it that is there."""
    at: Node | Entry = node
    for part in path:
        if isinstance(node, MapNode):
            entry = node.get(str(part))
            if entry is None:
                break
            node, at = entry.value, entry if on_key and part == path[-1] else entry.value
        elif isinstance(node, ListNode) and isinstance(part, int):
            node = at = node.items[part]
    return at


def _node(value: object) -> Node:
    """A JSON value as a tree without positions."""
    if isinstance(value, Mapping):
        entries = tuple(Entry(line=0, column=0, key=str(key), value=_node(item)) for key, item in value.items())
        return MapNode(line=0, column=0, entries=entries, size=1, height=0)
    if isinstance(value, list | tuple):
        return ListNode(line=0, column=0, items=tuple(_node(item) for item in value), size=1, height=0)
    if value is None or isinstance(value, str | int | float):
        return ScalarNode(line=0, column=0, value=value, text=str(value))
    raise TypeError(f"{type(value).__name__} is not a JSON value")
