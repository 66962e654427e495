"""JSON → trees, with positions. The standard library reads the scalars, this module the structure: nothing recurses."""

from __future__ import annotations

import bisect
import json
import re

from nsrun.model.tree import (
    MAX_DOCUMENTS,
    Document,
    Problem,
    ScalarNode,
    TooLargeError,
    TreeBuilder,
    too_many_documents,
)
from nsrun.model.wording import quoted

__all__ = ["parse_json"]

SPACE = re.compile(r"[ \t\n\r]*")
LINE = re.compile(r"\n")
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
LONGEST_INTEGER = 20
STRING_FAULTS = {
    "Unterminated string starting at": "the quotes are not closed before the end of the file",
    "Invalid control character at": "a line break, tab or control character in quotes must be written as its escape",
    "Invalid \\escape": "the backslash must start one of the escapes of JSON",
    "Invalid \\uXXXX escape": "\\\\u must be followed by four hexadecimal digits",
}


class _SyntaxFault(Exception):
    """The text is not JSON at ``offset``."""

    def __init__(self, offset: int, text: str) -> None:
        super().__init__(text)
        self.offset = offset
        self.text = text


def parse_json(text: str) -> tuple[Document, ...]:
    """Every JSON value in ``text``, one after the other, as kubectl takes them. After a fault nothing more is read."""
    documents: list[Document] = []
    reader = _Reader(text)
    while not reader.at_end():
        if len(documents) == MAX_DOCUMENTS:
            return (*documents, too_many_documents(reader.line))
        try:
            documents.append(reader.document())
        except TooLargeError as error:
            documents.append(Document(root=None, problems=(*reader.tree.problems, error.problem)))
            break
        except _SyntaxFault as fault:
            line, column = reader.position(fault.offset)
            problem = Problem(line=line, column=column, path="", text=f"cannot parse JSON: {fault.text}")
            documents.append(Document(root=None, problems=(*reader.tree.problems, problem)))
            break
    return tuple(documents)


class _Reader:
    """Walks the text. Invariant: ``_offset`` is at a token or the end, never inside one."""

    def __init__(self, text: str) -> None:
        self.tree = TreeBuilder()
        self._text = text
        self._starts = [0, *(match.end() for match in LINE.finditer(text))]
        self._offset = 0
        self._decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer, parse_float=_float)
        self._skip(0)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    @property
    def line(self) -> int:
        """The line of the next token."""
        return self.position(self._offset)[0]

    def at_end(self) -> bool:
        return self._offset >= len(self._text)

    def document(self) -> Document:
        """The next value and all in it."""
        self.tree = TreeBuilder()
        closers: list[str] = []
        self._value(closers)
        while closers:
            self._after_value(closers)
        return Document(root=self.tree.root, problems=tuple(self.tree.problems))

    def _peek(self) -> str:
        return self._text[self._offset : self._offset + 1]

    def _skip(self, length: int) -> None:
        match = SPACE.match(self._text, self._offset + length)
        self._offset = match.end() if match is not None else len(self._text)

    def _value(self, closers: list[str]) -> None:
        """A scalar, or the opening of a container together with its first value."""
        while self._peek() in ("{", "["):
            is_map = self._peek() == "{"
            self.tree.begin(*self.position(self._offset), is_map=is_map)
            closers.append("}" if is_map else "]")
            self._skip(1)
            if self._peek() == closers[-1]:
                self._close(closers)
                return
            if is_map:
                self._key()
        line, column = self.position(self._offset)
        value, text = self._scalar("a value")
        self.tree.scalar(ScalarNode(line=line, column=column, value=value, text=text))

    def _after_value(self, closers: list[str]) -> None:
        """A comma and the next value, or the end of the container."""
        if self._peek() == closers[-1]:
            self._close(closers)
            return
        if self._peek() != ",":
            raise self._fault(f'"," or "{closers[-1]}"')
        self._skip(1)
        if closers[-1] == "}":
            self._key()
        self._value(closers)

    def _close(self, closers: list[str]) -> None:
        closers.pop()
        self._skip(1)
        self.tree.end()

    def _key(self) -> None:
        line, column = self.position(self._offset)
        if self._peek() != '"':
            raise self._fault("a key in double quotes")
        key, _ = self._scalar("a key")
        self.tree.key(line, column, str(key))
        if self._peek() != ":":
            raise self._fault('":"')
        self._skip(1)

    def _scalar(self, expected: str) -> tuple[str | int | float | bool | None, str]:
        start = self._offset
        try:
            value, end = self._decoder.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            if self._peek() == '"':
                raise _SyntaxFault(error.pos, STRING_FAULTS.get(error.msg, "the text in quotes is not JSON")) from None
            raise self._fault(expected) from None
        except ValueError as error:
            raise _SyntaxFault(start, str(error)) from None
        self._offset = end
        self._skip(0)
        if isinstance(value, str):
            return LONE_SURROGATE.sub("\ufffd", value), value
        return value, self._text[start:end]

    def _fault(self, expected: str) -> _SyntaxFault:
        found = quoted(self._peek()) if self._peek() else "the end of the file"
        return _SyntaxFault(self._offset, f"{expected} is expected here, not {found}")


def _no_constant(name: str) -> None:
    raise ValueError(f"a number must be finite, not {name}")


def _integer(text: str) -> int | float:
    return int(text) if len(text) < LONGEST_INTEGER else _float(text)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number must be finite")
    return value
