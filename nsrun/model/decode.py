"""The text of a manifest file → its pods, with everything there is to say about them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from nsrun.errors import ManifestError
from nsrun.model.document import parse_documents
from nsrun.model.environment import ObjectKind
from nsrun.model.fields import Place, Report, describe
from nsrun.model.locate import locate, report_violations
from nsrun.model.objects import Claim, ConfigMap, PersistentVolume, Secret
from nsrun.model.pod import Pod
from nsrun.model.shapes import POD
from nsrun.model.shapes_objects import OBJECTS
from nsrun.model.tree import Document, Entry, ListNode, MapNode, Node, Problem, ScalarNode
from nsrun.model.uid import identify
from nsrun.model.validate import validate, warnings
from nsrun.model.validate_objects import validate_object
from nsrun.model.violation import Violation
from nsrun.model.wording import quoted, suggestion
from nsrun.model.workload import WORKLOADS, decode_workload, in_template

__all__ = ["Manifest", "ObjectId", "PlacedObject", "PlacedPod", "decode_pod", "parse_manifest"]

ObjectId = tuple[ObjectKind, str, str]
"""Kind, namespace ("" for a PersistentVolume) and name."""

LISTS: Mapping[str, str] = {
    "List": "",
    "PodList": "Pod",
    **{f"{kind}List": kind for kind in (*ObjectKind, *WORKLOADS)},
}
"""Kinds that hold others, and the kind that their items need not name."""
KINDS: Mapping[type, ObjectKind] = {
    ConfigMap: ObjectKind.CONFIG_MAP,
    Secret: ObjectKind.SECRET,
    Claim: ObjectKind.CLAIM,
    PersistentVolume: ObjectKind.VOLUME,
}
SECRET_PATH = re.compile(
    r"(items\[[0-9]+\])?(\.?(apiVersion|kind|metadata(\.(name|namespace))?|type|immutable|data|stringData)\b)?"
)
_MARKS = ("apiVersion", "kind", "metadata", "spec")

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
class PlacedObject:
    """Something that pods refer to, and where its name stands."""

    object: ConfigMap | Secret | Claim | PersistentVolume
    line: int
    column: int

    @property
    def id(self) -> ObjectId:
        namespace = "" if isinstance(self.object, PersistentVolume) else self.object.namespace
        return KINDS[type(self.object)], namespace, self.object.name

    @property
    def title(self) -> str:
        """``ConfigMap "default/settings"``."""
        kind, namespace, name = self.id
        return f'{kind} "{namespace}/{name}"' if namespace else f'{kind} "{name}"'


Placed = PlacedPod | PlacedObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A file, read. ``problems`` and ``warnings`` are lines, in file order; ``pods`` and ``objects`` those that have no
    problem."""

    pods: tuple[PlacedPod, ...] = ()
    objects: tuple[PlacedObject, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def parse_manifest(
    data: bytes, *, file: str, node_name: str, origin: str, config_source: str = "file", json_only: bool = False
) -> Manifest:
    """Reads everything in a file. ``file``: its name in messages; ``origin``: its absolute path, part of the pods'
    UIDs, and ``config_source`` what it is: both as ``identify`` has them.

    Every document stands for itself: what it describes is there when its own document has no problem. Never raises.
    """
    report = Report(node_name=node_name)
    pods: list[PlacedPod] = []
    objects: list[PlacedObject] = []
    for document in parse_documents(data, json_only=json_only):
        for placed in _placed_in(document, report):
            if isinstance(placed, PlacedObject):
                objects.append(placed)
                continue
            pod = identify(placed.pod, node_name=node_name, origin=origin, config_source=config_source)
            pods.append(PlacedPod(pod=pod, line=placed.line, column=placed.column))
    return Manifest(
        pods=tuple(pods),
        objects=tuple(objects),
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


def _placed_in(document: Document, report: Report) -> Iterator[Placed]:
    """What one document describes. Nothing of it is taken when its text itself is at fault."""
    report.problems.extend(document.problems)
    if document.root is None:
        return
    own = Report(warnings=report.warnings, node_name=report.node_name)
    placed = list(_any(Place(document.root, (), own)))
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


def _any(place: Place) -> Iterator[Placed]:
    """What stands at a place: a pod, something that pods refer to, a list of them, or what is not for nsrun."""
    if not isinstance(place.node, MapNode):
        if not (isinstance(place.node, ScalarNode) and place.node.value is None):
            # Not quoted: a line that belongs to nothing may have been torn out of a Secret.
            what = "a text" if isinstance(place.node, ScalarNode) else describe(place.node)
            place.problem(f"must be a mapping, not {what}")
        return
    if not any(place.node.get(key) for key in _MARKS):
        # Its keys are not quoted either: a link to /etc/shadow has passwords for keys.
        place.problem("is no Kubernetes object: it has no apiVersion, no kind, no metadata and no spec")
        return
    entry = place.node.get("kind")
    kind = entry.value.value if entry is not None and isinstance(entry.value, ScalarNode) else "Pod"
    if entry is None or not isinstance(kind, str) or kind == "Pod":
        yield from _pods(place, place.node)
    elif kind in LISTS and not place.path:
        yield from _items(place, place.node, LISTS[kind])
    elif kind in WORKLOADS:
        yield from _workload(place, place.node, kind)
    elif kind in OBJECTS:
        yield from _object(place, place.node, ObjectKind(kind))
    else:
        yield from _other(place, place.node, kind, entry)


def _other(place: Place, node: MapNode, kind: str, entry: Entry) -> Iterator[Placed]:
    known = ("Pod", *ObjectKind, *WORKLOADS)
    alike = next((name for name in known if name.casefold() == kind.casefold()), None)
    if suggestion(kind, ["Pod"]):
        yield from _pods(place, node)
    elif alike is not None:
        place.child("kind", entry.value).problem(f'must be "{alike}", not {quoted(kind)}')
    else:
        place.warning(f"{quoted(kind)} is not supported, skipped", at=entry)


def _items(place: Place, node: MapNode, kind: str) -> Iterator[Placed]:
    """``kind``: what the items are unless they say so, "" when they must."""
    entry = node.get("items")
    if entry is None or not isinstance(entry.value, ListNode):
        what = "is required" if entry is None else f"must be a list, not {describe(entry.value)}"
        place.child("items", node if entry is None else entry.value).problem(what)
        return
    for index, item in enumerate(entry.value.items):
        if kind and isinstance(item, MapNode):
            item = _typed(item, kind)
        yield from _any(place.child("items", entry.value).child(index, item))


def _typed(item: MapNode, kind: str) -> MapNode:
    """An item of a PodList and its like need not say what it is."""
    version = WORKLOADS[kind].api_version if kind in WORKLOADS else "v1"
    missing = tuple(
        Entry(line=item.line, column=item.column, key=key, value=_node(value))
        for key, value in (("apiVersion", version), ("kind", kind))
        if item.get(key) is None
    )
    entries = (*missing, *item.entries)
    return MapNode(line=item.line, column=item.column, entries=entries, size=item.size, height=item.height)


def _name(node: MapNode) -> Node | Entry:
    return locate(node, ("metadata", "name"))


def _pods(place: Place, node: MapNode) -> Iterator[PlacedPod]:
    pod = _pod(place)
    if pod is not None:
        yield PlacedPod(pod=pod, line=_name(node).line, column=_name(node).column)


def _pod(place: Place) -> Pod | None:
    """The pod at a place, None when it has a problem."""
    before = len(place.report.problems)
    pod = POD(place)
    if _sound(place, before, validate(pod)):
        report_violations(place, warnings(pod), place.report.warnings)
        return pod
    return None


def _sound(place: Place, before: int, violations: Iterable[Violation]) -> bool:
    """Reports what is wrong; whether nothing is, and nothing was since there were ``before`` problems."""
    report_violations(place, violations, place.report.problems)
    return len(place.report.problems) == before


def _workload(place: Place, node: MapNode, kind: str) -> Iterator[Placed]:
    before = len(place.report.problems)
    workload = decode_workload(place, kind)
    made = [PlacedObject(object=claim, line=_name(node).line, column=_name(node).column) for claim in workload.claims]
    for one in made if len(place.report.problems) == before else ():
        report_violations(place, validate_object(one.object), place.report.problems)
    pod = workload.pod
    if _sound(place, before, in_template(validate(pod)) if pod is not None else ()):
        yield from made
        if pod is not None:
            report_violations(place, in_template(warnings(pod)), place.report.warnings)
            yield PlacedPod(pod=pod, line=_name(node).line, column=_name(node).column)


def _object(place: Place, node: MapNode, kind: ObjectKind) -> Iterator[PlacedObject]:
    own = Report()
    inside = Place(place.node, place.path, own)
    said = OBJECTS[kind](inside)
    sound = _sound(inside, 0, validate_object(said))
    secret = kind is ObjectKind.SECRET
    place.report.problems.extend(_discreet(own.problems) if secret else own.problems)
    place.report.warnings.extend(_discreet(own.warnings) if secret else own.warnings)
    place.report.inert.extend(own.inert)
    if sound:
        yield PlacedObject(object=said, line=_name(node).line, column=_name(node).column)


def _discreet(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The same, with no key named that a Secret need not have: it may be a value in the wrong place."""
    for problem in problems:
        known = SECRET_PATH.match(problem.path)
        path = known[0] if known is not None else ""
        yield replace(problem, path=path, text=problem.text if path else f"a key {problem.text}")


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
