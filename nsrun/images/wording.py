"""Our sentences: foreign text in them, made safe for a terminal and a log; and how clauses become sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nsrun.errors import ImageError, describe_errno

__all__ = ["printable", "sentences"]


def printable(text: str, limit: int = 255) -> str:
    """``text`` in printable ASCII on one line, what is not being escaped, cut to ``limit`` characters."""
    shown = text if len(text) <= limit else text[:limit] + "..."
    escaped = shown.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)


@contextmanager
def sentences(what: str) -> Iterator[None]:
    """Errors of the disk, and ImageErrors that are clauses, become ``cannot <what>: …``."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of our output has gone: nothing of ours
    except OSError as error:
        place = f' "{error.filename}"' if error.filename else ""
        raise ImageError(f"cannot {what}:{place} {describe_errno(error.errno or 0)}") from error
    except ImageError as error:
        if error.message.startswith("cannot "):
            raise
        raise ImageError(f"cannot {what}: {error}", reason=error.reason, hint=error.hint) from None
