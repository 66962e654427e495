"""Our sentences: foreign text in them, made safe for a terminal and a log; and how clauses become sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nsrun.errors import ImageError, describe_errno

__all__ = ["OTHER_PLACE", "printable", "sentences"]


def printable(text: str, limit: int = 255) -> str:
    """``text`` in printable ASCII on one line, what is not being escaped, cut to ``limit`` characters."""
    shown = text if len(text) <= limit else text[:limit] + "..."
    escaped = shown.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)


OTHER_PLACE = "run it as root, or name a directory of yours with --root"
"""The remedy for a store that this user may not use."""


@contextmanager
def sentences(what: str, *, denied: str | None = None) -> Iterator[None]:
    """Errors of the disk, and ImageErrors that are clauses, become ``cannot <what>: …``. ``denied``: the remedy for
    want of permission."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of our output has gone: nothing of ours
    except OSError as error:
        place = f' "{error.filename}":' if error.filename and f'"{error.filename}"' not in what else ""
        hint = denied if isinstance(error, PermissionError) else None
        raise ImageError(f"cannot {what}:{place} {describe_errno(error.errno or 0)}", hint=hint) from error
    except ImageError as error:
        if error.message.startswith("cannot "):
            raise
        raise ImageError(f"cannot {what}: {error}", reason=error.reason, hint=error.hint) from None
