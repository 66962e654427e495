"""One YAML document → tree. libyaml reads; its events, not its nodes, are used: nothing recurses, nothing expands."""

from __future__ import annotations

from typing import cast

import yaml

from nsrun.model.scalars import PREFIX, key_text, resolve
from nsrun.model.tree import Document, Problem, ScalarNode, TooLargeError, TreeBuilder
from nsrun.model.wording import printable, quoted

__all__ = ["parse_yaml"]

TEXTS = {
    "mapping values are not allowed in this context": (
        'a key cannot stand here: quote a text that holds ": ", or correct the indentation'
    ),
    "find expected ':'": 'a key is not followed by ":"',
    "did not find expected node content": "a value is expected here",
    "found incompatible YAML document": "the version that %YAML names is not supported",
    "did not find expected <document start>": "the document has ended, and something else follows",
    "did not find expected key": "a key is expected here: look at the indentation, and at unclosed quotes",
    "did not find expected '-' indicator": 'an item of the list ("- ") is expected here: look at the indentation',
    "found unexpected end of stream": "the quotes are not closed before the end of the document",
    "did not find expected ',' or ']'": 'a list is not closed: "," or "]" is expected here',
    "did not find expected ',' or '}'": 'a mapping is not closed: "," or "}" is expected here',
}


def parse_yaml(text: str, *, first_line: int) -> Document | None:
    """The first document in ``text``, whose first line is ``first_line`` of the file. None: only comments."""
    reader = _Reader(first_line)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            reader.take(event)
    except TooLargeError as error:
        return Document(root=None, problems=(*reader.tree.problems, error.problem))
    except yaml.YAMLError as error:
        return Document(root=None, problems=(*reader.tree.problems, _syntax(error, text, first_line)))
    if reader.tree.root is None:
        return None
    return Document(root=reader.tree.root, problems=tuple(reader.tree.problems))


class _Reader:
    """Feeds the events of one document to a tree."""

    def __init__(self, first_line: int) -> None:
        self.tree = TreeBuilder()
        self._first_line = first_line

    def take(self, event: yaml.Event) -> None:
        mark = cast(yaml.Mark, event.start_mark)
        line, column = mark.line + self._first_line, mark.column + 1
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line, column)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            is_map = isinstance(event, yaml.MappingStartEvent)
            self._check_tag(event.tag, "map" if is_map else "seq", line, column)
            self.tree.begin(line, column, is_map=is_map, anchor=event.anchor)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.tree.end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line, column)

    def _check_tag(self, tag: str | None, expected: str, line: int, column: int) -> None:
        if tag not in (None, "!", f"{PREFIX}{expected}"):
            self.tree.problem(line, column, f"tag {quoted(str(tag))} is not supported")

    def _scalar(self, event: yaml.ScalarEvent, line: int, column: int) -> None:
        text: str = event.value
        plain = bool(event.implicit[0])
        if self.tree.expects_key and text == "<<" and (plain or event.tag == f"{PREFIX}merge"):
            self.tree.key(line, column, None, merge=True)
            return
        try:
            value = resolve(text, event.tag, plain=plain)
        except ValueError as error:
            self.tree.problem(line, column, str(error))
            value = text
        node = ScalarNode(line=line, column=column, value=value, text=text)
        if self.tree.expects_key:
            self.tree.anchor(event.anchor, node)
            self._key(key_text(value), line, column)
        else:
            self.tree.scalar(node, anchor=event.anchor)

    def _alias(self, event: yaml.AliasEvent, line: int, column: int) -> None:
        if self.tree.expects_key:
            self._key(key_text(self.tree.aliased_key(str(event.anchor))), line, column)
        else:
            self.tree.alias(line, column, str(event.anchor))

    def _key(self, key: str | None, line: int, column: int) -> None:
        if key is None:
            self.tree.problem(line, column, "a key must be a plain word, not null")
        self.tree.key(line, column, key)


def _syntax(error: yaml.YAMLError, text: str, first_line: int) -> Problem:
    """libyaml's complaint in our words, at the place it means."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    cause = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it is not YAML")
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    lines = text.splitlines()
    if "cannot start any token" in cause and "\t" in lines[line][column : column + 1]:
        cause = "a tab cannot indent YAML or start a value: use spaces"
    for theirs, ours in TEXTS.items():
        cause = ours if theirs in cause else cause
    return Problem(line=line + first_line, column=column + 1, path="", text=f"cannot parse YAML: {printable(cause)}")
