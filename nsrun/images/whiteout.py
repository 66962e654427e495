"""Whiteouts: how a layer says that something below it is gone (image-spec layer.md, "Whiteouts").

``.wh.<name>`` hides ``<name>`` of the layers below; ``.wh..wh..opq`` hides all that they have in its directory. Other
names that begin with ``.wh..wh.`` are book-keeping of AUFS; Docker's layers have them now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Name", "NameKind", "read_name"]

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
AUFS_PREFIX = b".wh..wh."


class NameKind(Enum):
    """What an entry of this name does."""

    PLAIN = "plain"
    HIDE = "hide"
    OPAQUE = "opaque"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """``name``: the plain name, or the one that is hidden."""

    kind: NameKind
    name: bytes


def read_name(name: bytes) -> Name:
    """What the last component of a path means. Raises ValueError for a whiteout of nothing, of ``.`` or of ``..``."""
    if not name.startswith(PREFIX):
        return Name(kind=NameKind.PLAIN, name=name)
    if name == OPAQUE:
        return Name(kind=NameKind.OPAQUE, name=b"")
    if name.startswith(AUFS_PREFIX):
        return Name(kind=NameKind.IGNORE, name=b"")
    hidden = name.removeprefix(PREFIX)
    if hidden in (b"", b".", b".."):
        raise ValueError("a whiteout must name something")
    return Name(kind=NameKind.HIDE, name=hidden)
