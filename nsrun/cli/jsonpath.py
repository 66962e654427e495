"""kubectl's JSONPath templates: text, and in braces what is looked up in a document. Pure: the text becomes values,
which ``jsonpath_results`` evaluates.

    template = { text | "{" action "}" }
    action   = quoted | "range" path | "end" | path
    path     = [ "$" | "@" ] { step }              a step of its own may begin it: {metadata.name}
    step     = "." name | "." "*" | ".." name | ".." "*" | "[" inside "]"
    inside   = "*" | item { "," item } | "?(" operand [ operator operand ] ")"
    item     = quoted name | number | [ number ] ":" [ number ] [ ":" [ number ] ]
    operator = "==" | "!=" | "<" | "<=" | ">" | ">="
    operand  = path | quoted | number | "true" | "false"

In a name ``\\`` takes the next character as it is (``kubernetes\\.io/arch``); a quoted one may hold dots, and is tried
as one name first and then as a path, which is what kubectl takes it for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nsrun.errors import SettingsError

__all__ = [
    "Field",
    "Filter",
    "JsonPathError",
    "Literal",
    "Node",
    "Path",
    "Range",
    "Recursive",
    "Slice",
    "Step",
    "Text",
    "Union",
    "Wildcard",
    "parse_path",
    "parse_template",
]


class JsonPathError(SettingsError):
    """The text is no template. ``position``: where, in characters from 0."""

    def __init__(self, text: str, position: int, what: str) -> None:
        super().__init__(
            f'cannot use jsonpath "{text}": {what} at column {position + 1}',
            hint=f"as far as this it is understood: {text[:position]}",
        )
        self.position = position


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """``.name``, or ``['name']``: then ``parts`` are what its dots separate."""

    name: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wildcard:
    """``.*`` and ``[*]``: every element, every value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recursive:
    """``..``: the value and everything below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """``[start:end:step]``, or with ``single`` ``[start]``."""

    start: int | None = None
    end: int | None = None
    step: int | None = None
    single: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Union:
    """``[a,b]``: what each of them gives."""

    items: tuple[Field | Slice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Steps from the current value or, with ``root``, from the whole document."""

    steps: tuple[Step, ...] = ()
    root: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """A string, a number or a truth value."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """``[?(left operator right)]``; without an operator: left must be there."""

    left: Path | Literal
    operator: str = ""
    right: Path | Literal | None = None


Step = Field | Wildcard | Recursive | Slice | Union | Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text that is written as it is."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """``{range path}…{end}``: the body for each of its values."""

    path: Path
    body: tuple[Node, ...]


Node = Text | Path | Range

_NAME_ENDS = " \t\r\n.,[](){}'\"=!<>&|@$"
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_OPERATOR = re.compile(r"==|!=|<=|>=|<|>")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}
_DEEPEST = 50


def parse_template(text: str) -> tuple[Node, ...]:
    """A template; without any brace it is taken for a path alone. Raises JsonPathError."""
    if "{" not in text and "}" not in text and text.strip():
        return (parse_path(text),)
    return _Parser(text).template()


def parse_path(text: str) -> Path:
    """One path, in braces or not: ``.metadata.name``, ``{.metadata.name}``, ``metadata.name``. Raises JsonPathError."""
    parser = _Parser(text)
    parser.blanks()
    braced = parser.take("{")
    path = parser.action_path()
    if braced:
        parser.expect("}")
    parser.blanks()
    if not parser.at_end():
        raise parser.unexpected("the end")
    return path


class _Parser:
    """Reads ``text`` from ``at`` on."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    # --- characters

    def at_end(self) -> bool:
        return self._at == len(self._text)

    def blanks(self) -> None:
        while not self.at_end() and self._text[self._at].isspace():
            self._at += 1

    def take(self, wanted: str) -> bool:
        """Whether it comes next; then it is behind us."""
        found = self._text.startswith(wanted, self._at)
        if found:
            self._at += len(wanted)
        return found

    def expect(self, wanted: str) -> None:
        self.blanks()
        if not self.take(wanted):
            raise self.unexpected(f'"{wanted}"')

    def error(self, what: str, position: int | None = None) -> JsonPathError:
        return JsonPathError(self._text, self._at if position is None else position, what)

    def unexpected(self, wanted: str) -> JsonPathError:
        found = "the end" if self.at_end() else f'"{self._text[self._at]}"'
        return self.error(f"must be {wanted}, not {found},")

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    # --- templates

    def template(self) -> tuple[Node, ...]:
        return self._nodes(None)

    def _nodes(self, opened: int | None) -> tuple[Node, ...]:
        """Up to the end, or, within a range that was opened at a position, up to its ``{end}``."""
        nodes: list[Node] = []
        while not self.at_end():
            brace = self._text.find("{", self._at)
            end = len(self._text) if brace < 0 else brace
            if end > self._at:
                nodes.append(Text(text=self._text[self._at : end]))
            self._at = end
            if brace < 0:
                break
            self._at += 1
            self.blanks()
            if self._word("end"):
                if opened is None:
                    raise self.error('"end" without a "range"', brace + 1)
                self.expect("}")
                return tuple(nodes)
            nodes.append(self._action(brace))
        if opened is not None:
            raise self.error('"range" without an "end"', opened)
        return tuple(nodes)

    def _word(self, word: str) -> bool:
        """Whether this very word comes next, and not a name that begins with it."""
        after = self._text[self._at + len(word) : self._at + len(word) + 1]
        return (after == "" or after.isspace() or after in "}.@$[") and self.take(word)

    def _action(self, brace: int) -> Node:
        if self._text[self._at : self._at + 1] in ("'", '"'):
            node: Node = Text(text=self._quoted())
            self.expect("}")
            return node
        if self._word("range"):
            path = self.action_path()
            self.expect("}")
            self._enter(brace)
            body = self._nodes(brace + 1)
            self._depth -= 1
            return Range(path=path, body=body)
        node = self.action_path()
        self.expect("}")
        return node

    def _enter(self, position: int) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.error("it is nested too deep", position)

    # --- paths

    def action_path(self) -> Path:
        """A path that may begin with a bare name."""
        self.blanks()
        begin = self._at
        path = self._path(bare=True)
        if self._at == begin:
            raise self.unexpected("a path or a quoted text")
        return path

    def _path(self, *, bare: bool = False) -> Path:
        root = self.take("$")
        current = not root and self.take("@")
        steps: list[Step] = []
        if bare and not root and not current and not self.at_end() and self._text[self._at] not in _NAME_ENDS:
            steps.append(self._name())
        while True:
            if self.take(".."):
                steps.append(Recursive())
                if not self._text.startswith("[", self._at):
                    steps.append(self._name())
            elif self.take("."):
                if self.at_end() or self._text[self._at] in " }":
                    if steps:
                        raise self.unexpected("a name")
                    continue  # {.}: the value itself
                if not self._text.startswith("[", self._at):
                    steps.append(self._name())
            elif self.take("["):
                steps.append(self._inside())
            else:
                return Path(steps=tuple(steps), root=root)

    def _name(self) -> Field | Wildcard:
        if self.take("*"):
            return Wildcard()
        letters: list[str] = []
        while not self.at_end() and self._text[self._at] not in _NAME_ENDS:
            if self.take("\\") and self.at_end():
                raise self.unexpected("a character")
            letters.append(self._text[self._at])
            self._at += 1
        if not letters:
            raise self.unexpected("a name")
        return Field(name="".join(letters))

    def _inside(self) -> Step:
        self.blanks()
        if self.take("*"):
            self.expect("]")
            return Wildcard()
        if self.take("?"):
            return self._filter()
        items = [self._item()]
        self.blanks()
        while self.take(","):
            items.append(self._item())
            self.blanks()
        self.expect("]")
        return items[0] if len(items) == 1 else Union(items=tuple(items))

    def _item(self) -> Field | Slice:
        self.blanks()
        if not self.at_end() and self._text[self._at] in "'\"":
            return self._quoted_name()
        begin = self._at
        numbers = [self._integer()]
        while len(numbers) < 3 and self.take(":"):
            numbers.append(self._integer())
        if len(numbers) == 1:
            if numbers[0] is None:
                raise self.unexpected('a number, a slice, "*", "?(" or a quoted name')
            return Slice(start=numbers[0], single=True)
        start, end, step = (*numbers, None)[:3]
        if step is not None and step < 1:
            raise self.error("the step of a slice must be at least 1", begin)
        return Slice(start=start, end=end, step=step)

    def _integer(self) -> int | None:
        self.blanks()
        digits = self._match(_INTEGER)
        self.blanks()
        return int(digits) if digits else None

    def _filter(self) -> Filter:
        self._enter(self._at)
        self.expect("(")
        left = self._operand()
        self.blanks()
        operator = self._match(_OPERATOR)
        right = self._operand() if operator else None
        self.blanks()
        if self._text[self._at : self._at + 2] in ("&&", "||"):
            raise self.error('conditions cannot be joined (write one filter after the other for "and")')
        self.expect(")")
        self.expect("]")
        self._depth -= 1
        return Filter(left=left, operator=operator, right=right)

    def _operand(self) -> Path | Literal:
        self.blanks()
        if not self.at_end() and self._text[self._at] in "'\"":
            return Literal(value=self._quoted())
        number = self._match(_NUMBER)
        if number:
            return Literal(value=float(number) if "." in number else int(number))
        for word, value in (("true", True), ("false", False)):
            if self.take(word):
                return Literal(value=value)
        if self.at_end() or self._text[self._at] not in "@$.[":
            raise self.unexpected('a path that begins with "@", a quoted text or a number')
        return self._path()

    # --- quoted

    def _quoted(self) -> str:
        begin = self._at
        quote = self._text[begin]
        letters: list[str] = []
        self._at += 1
        while not self.take(quote):
            if self.at_end():
                raise self.error("this quote is not closed", begin)
            letters.append(self._escape() if self.take("\\") else self._next())
        return "".join(letters)

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _escape(self) -> str:
        if self.at_end():
            raise self.unexpected("a character")
        letter = self._next()
        if letter == "u":
            digits = self._match(re.compile("[0-9a-fA-F]{4}"))
            if not digits:
                raise self.unexpected("four hexadecimal digits")
            return chr(int(digits, 16))
        return _ESCAPES.get(letter, letter)

    def _quoted_name(self) -> Field:
        """``\\.`` is a dot that separates nothing."""
        begin = self._at
        quote = self._next()
        parts = [""]
        while not self.take(quote):
            if self.at_end():
                raise self.error("this quote is not closed", begin)
            letter = self._next()
            if letter == ".":
                parts.append("")
            elif letter == "\\" and not self.at_end():
                parts[-1] += self._next()
            else:
                parts[-1] += letter
        return Field(name=".".join(parts), parts=tuple(parts) if len(parts) > 1 else ())
