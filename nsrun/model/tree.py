"""A document as a tree that remembers where every key and value stands. YAML and JSON readers both build it.

Limits hold while the tree grows, so that no text can make it large: depth, and the number of values *after* aliases are
expanded (a node is shared, yet whoever walks the tree meets it once per alias).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nsrun.model.wording import Path, quoted, render_path

__all__ = [
    "MAX_DEPTH",
    "MAX_DOCUMENTS",
    "MAX_VALUES",
    "Document",
    "Entry",
    "ListNode",
    "MapNode",
    "Node",
    "Problem",
    "ScalarNode",
    "TooLargeError",
    "TreeBuilder",
    "too_many_documents",
]

MAX_DEPTH = 100
MAX_VALUES = 100_000
MAX_DOCUMENTS = 10_000

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """Something to say about one place. Line and column count from 1; 0 where there are none."""

    line: int
    column: int
    path: str
    text: str

    def render(self, file: str) -> str:
        """``file:line:column: path: text``."""
        where = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{where}: {self.path}: {self.text}" if self.path else f"{where}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarNode:
    """A value; ``text`` as it was written, without quotes."""

    line: int
    column: int
    value: Value
    text: str
    size: int = 1
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNode:
    """A list."""

    line: int
    column: int
    items: tuple[Node, ...]
    size: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key and its value."""

    line: int
    column: int
    key: str
    value: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class MapNode:
    """A mapping. ``size``: values in it and below, aliases expanded; ``height``: levels below it."""

    line: int
    column: int
    entries: tuple[Entry, ...]
    size: int
    height: int

    def get(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)


Node = ScalarNode | ListNode | MapNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document. ``root`` None: the text cannot be parsed, and a problem says why."""

    root: Node | None
    problems: tuple[Problem, ...] = ()


def too_many_documents(line: int) -> Document:
    """What stands for the documents of a file that are not read any more."""
    text = f"the file holds more than {MAX_DOCUMENTS} documents"
    return Document(root=None, problems=(Problem(line=line, column=1, path="", text=text),))


class TooLargeError(Exception):
    """A document goes beyond a limit; ``problem`` says which."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


@dataclass(slots=True, kw_only=True)
class _Frame:
    """A mapping or list under construction. ``key``: the key that waits for its value (None: a key comes next, or the
    key was unusable, which ``keyed`` tells)."""

    line: int
    column: int
    is_map: bool
    anchor: str | None
    key: Entry | None = None
    keyed: bool = False
    merge: bool = False
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    size: int = 1
    height: int = 0

    def label(self) -> str | int | None:
        if not self.is_map:
            return len(self.items)
        return self.key.key if self.key is not None else "<<" if self.merge else None


class TreeBuilder:
    """Takes the events of a reader, gives the tree. Problems that leave a usable tree are collected in ``problems``.

    Invariant: ``root`` is None until the last open frame was ended. Raises TooLargeError from any method that adds.
    """

    def __init__(self) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._values = 0

    @property
    def path(self) -> Path:
        """Where the next value goes."""
        return tuple(label for frame in self._frames if (label := frame.label()) is not None)

    @property
    def expects_key(self) -> bool:
        """Whether the next scalar is a key."""
        return bool(self._frames) and self._frames[-1].is_map and not self._frames[-1].keyed

    def problem(self, line: int, column: int, text: str) -> None:
        self.problems.append(Problem(line=line, column=column, path=render_path(self.path), text=text))

    def begin(self, line: int, column: int, *, is_map: bool, anchor: str | None = None) -> None:
        """Opens a mapping or a list."""
        self._count(line, column)
        if len(self._frames) >= MAX_DEPTH:
            raise _too_deep(line, column)
        if anchor is not None:
            self._anchors[anchor] = None
        self._frames.append(_Frame(line=line, column=column, is_map=is_map, anchor=anchor))

    def end(self) -> None:
        """Closes the innermost mapping or list."""
        frame = self._frames.pop()
        if frame.is_map:
            self._merge(frame)
        if len(self._frames) + frame.height > MAX_DEPTH:
            raise _too_deep(frame.line, frame.column)
        node: Node
        if frame.is_map:
            entries = tuple(frame.entries.values())
            node = MapNode(line=frame.line, column=frame.column, entries=entries, size=frame.size, height=frame.height)
        else:
            items = tuple(frame.items)
            node = ListNode(line=frame.line, column=frame.column, items=items, size=frame.size, height=frame.height)
        self._add(node, frame.anchor)

    def key(self, line: int, column: int, key: str | None, *, merge: bool = False) -> None:
        """The key of the next value; None when it cannot be used (the value is then dropped)."""
        frame = self._frames[-1]
        frame.keyed, frame.merge, frame.key = True, merge, None
        if merge or key is None:
            return
        placeholder = ScalarNode(line=line, column=column, value=None, text="")
        frame.key = Entry(line=line, column=column, key=key, value=placeholder)
        if "\0" in key:
            self.problem(line, column, "a key must not hold a NUL character")
        first = frame.entries.get(key)
        if first is not None:
            self.problem(line, column, f"is given twice, first in line {first.line}")

    def scalar(self, node: ScalarNode, *, anchor: str | None = None) -> None:
        """A scalar value."""
        self._count(node.line, node.column)
        if isinstance(node.value, str) and "\0" in node.value:
            self.problem(node.line, node.column, "must not hold a NUL character")
        self._add(node, anchor)

    def alias(self, line: int, column: int, anchor: str) -> None:
        """The value of an anchor once more."""
        self._count(line, column)
        node = self._anchors.get(anchor)
        if node is None:
            fault = "refers to itself" if anchor in self._anchors else "has no anchor"
            self.problem(line, column, f"alias {quoted(anchor)} {fault}")
            node = ScalarNode(line=line, column=column, value=None, text="")
        self._add(node, None)

    def aliased_key(self, anchor: str) -> Value:
        """The scalar an anchor names, for its use as a key."""
        node = self._anchors.get(anchor)
        return node.value if isinstance(node, ScalarNode) else None

    def anchor(self, anchor: str | None, node: ScalarNode) -> None:
        """Names a scalar that is a key."""
        if anchor is not None:
            self._anchors[anchor] = node

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._frames:
            self.root = node
            return
        frame = self._frames[-1]
        if frame.is_map and not frame.keyed:
            self.problem(node.line, node.column, "a key must be a plain word, not a mapping or a list")
            self.key(node.line, node.column, None)
            return
        self._grow(frame, node)
        if not frame.is_map:
            frame.items.append(node)
            return
        if frame.merge:
            frame.merged.append(node)
        elif frame.key is not None and frame.key.key not in frame.entries:
            key = frame.key
            frame.entries[key.key] = Entry(line=key.line, column=key.column, key=key.key, value=node)
        frame.keyed, frame.merge, frame.key = False, False, None

    def _merge(self, frame: _Frame) -> None:
        """YAML 1.1's ``<<``: what the mapping itself says wins, then the earlier of the merged ones."""
        for node in _flattened(frame.merged):
            if not isinstance(node, MapNode):
                self.problem(node.line, node.column, '"<<" must be given a mapping or a list of mappings')
                continue
            for entry in node.entries:
                if entry.key not in frame.entries:
                    frame.entries[entry.key] = entry

    def _grow(self, frame: _Frame, node: Node) -> None:
        frame.size += node.size
        frame.height = max(frame.height, node.height + 1)
        if frame.size > MAX_VALUES:
            raise _too_many(node.line, node.column, " once its aliases are expanded")

    def _count(self, line: int, column: int) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _too_many(line, column, "")


def _too_many(line: int, column: int, when: str) -> TooLargeError:
    text = f"the document holds more than {MAX_VALUES} values{when}"
    return TooLargeError(Problem(line=line, column=column, path="", text=text))


def _too_deep(line: int, column: int) -> TooLargeError:
    text = f"the document is nested deeper than {MAX_DEPTH} levels"
    return TooLargeError(Problem(line=line, column=column, path="", text=text))


def _flattened(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        yield from node.items if isinstance(node, ListNode) else (node,)
