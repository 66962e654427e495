"""Plain tables as kubectl writes them: columns as wide as their widest cell, three blanks between, no lines."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["table"]


def table(header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    """All rows, below the header if there is one, as one text without a final newline. Control characters in cells are
    shown as ``?``: names of images and containers reach a terminal here."""
    cells = [*([header] if header is not None else []), *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "   ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip() for row in cells
    )


def _printable(cell: str) -> str:
    if cell.isprintable():
        return cell
    return "".join(character if character.isprintable() else "?" for character in cell)
