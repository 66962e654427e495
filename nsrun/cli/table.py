"""Plain tables as kubectl writes them: columns as wide as their widest cell, three blanks between, no lines."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["table"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """All rows as one text without a final newline. Control characters in cells are shown as ``?``: names of images and
    containers reach a terminal here."""
    cells = [list(header), *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _printable(cell: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in cell)
