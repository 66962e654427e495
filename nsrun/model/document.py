"""The text of a manifest file → its documents.

A file is split where YAML says a document starts (``---`` at the start of a line, which nothing inside a document can
look like), so that a fault in one document costs that document alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from nsrun.model.jsontext import parse_json
from nsrun.model.tree import MAX_DOCUMENTS, Document, Problem, too_many_documents
from nsrun.model.yamltext import parse_yaml

__all__ = ["MAX_BYTES", "parse_documents"]

MAX_BYTES = 10 << 20
"""The kubelet's own limit for a manifest file."""

BOM = b"\xef\xbb\xbf"
WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
BOUNDARY = re.compile(r"^(?=---(?:[ \t\r\n]|\Z))|(?:^\.\.\.)[ \t]*(?:#.*)?\r?\n", re.MULTILINE)
"""Before ``---``, and after ``...``."""
SECRET = re.compile(r"\bSecret(List)?\b")
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
NOT_THIS = re.compile(r", not .*")
FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML calls not printable (YAML 1.1 §5.1)."""


def parse_documents(data: bytes, *, json_only: bool = False) -> tuple[Document, ...]:
    """Every document, in order, with its own problems; documents of comments alone are left out. Problems of a text
    that may hold a Secret quote nothing of it.

    ``json_only``: the file says by its name that it is JSON. Else what starts with ``{`` or ``[`` is read as JSON, and
    as YAML's flow style where it is not. Never raises.
    """
    if len(data) > MAX_BYTES:
        return (_unreadable(0, 0, f"must be at most {MAX_BYTES >> 20} MiB"),)
    try:
        text = data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        return (_not_utf8(data, error),)
    if not text.strip():
        return (_unreadable(0, 0, "is empty"),)
    if json_only:
        return _discreet(text, parse_json(text))
    if text.lstrip()[:1] in ("{", "["):
        documents = _discreet(text, parse_json(text))
        if all(document.root is not None for document in documents):
            return documents
        as_yaml = _parse_yaml(text)
        return as_yaml if all(document.root is not None for document in as_yaml) else documents
    return _parse_yaml(text)


def _parse_yaml(text: str) -> tuple[Document, ...]:
    forbidden = FORBIDDEN.search(text)
    if forbidden is not None:
        line, column = _position(text[: forbidden.start()])
        return (_unreadable(line, column, f"must not hold the control character U+{ord(forbidden[0]):04X}"),)
    documents: list[Document] = []
    for piece, line in _pieces(text):
        if len(documents) == MAX_DOCUMENTS:
            return (*documents, too_many_documents(line))
        document = parse_yaml(piece, first_line=line)
        if document is not None:
            documents.extend(_discreet(piece, (document,)))
    return tuple(documents)


def _discreet(text: str, documents: tuple[Document, ...]) -> tuple[Document, ...]:
    """The documents of ``text``, whose problems quote nothing of it when there may be a Secret in it."""
    if not SECRET.search(text):
        return documents
    return tuple(
        replace(document, problems=tuple(replace(one, path="", text=_unquoted(one.text)) for one in document.problems))
        for document in documents
    )


def _unquoted(text: str) -> str:
    """What is wrong with the syntax is said in words of ours, and only the end of them can be of the text."""
    if text.startswith("cannot parse"):
        return NOT_THIS.sub("", text)
    return NOT_THIS.sub("", QUOTED.sub('"…"', text))


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """The text of each document and the number of its first line. Directives stay with the document they precede."""
    boundaries = [match.end() for match in BOUNDARY.finditer(text)]
    begin, line = 0, 1
    for end in [*boundaries, len(text)]:
        piece = text[begin:end]
        if end < len(text) and _only_directives(piece):
            continue
        if piece:
            yield piece, line
        line += piece.count("\n")
        begin = end


def _only_directives(piece: str) -> bool:
    """Whether nothing but ``%`` lines, comments and blank lines is there, at least one of them a directive."""
    lines = [line for line in piece.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return bool(lines) and all(line.startswith("%") for line in lines)


def _not_utf8(data: bytes, error: UnicodeDecodeError) -> Document:
    body = data.removeprefix(BOM)
    line, column = _position(body[: error.start].decode())
    hint = ", nor UTF-16" if data.startswith(WIDE_BOMS) else ""
    return _unreadable(line, column, f"must be UTF-8 text, not the byte 0x{body[error.start]:02x}{hint}")


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _unreadable(line: int, column: int, text: str) -> Document:
    return Document(root=None, problems=(Problem(line=line, column=column, path="", text=text),))
