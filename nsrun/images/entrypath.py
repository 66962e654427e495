"""The paths of entries in archives: whoever wrote the archive chose them.

``nsrun-unpack`` reads those of layers by the same rules (``native/unpack_place.c``).
"""

from __future__ import annotations

__all__ = ["EntryError", "split_path"]


class EntryError(ValueError):
    """An entry asks for what none may do."""


def split_path(path: bytes, *, depth: int, name: int) -> list[bytes]:
    """The components of an archived path, below the directory that is filled: empty for the directory itself.

    Leading slashes and ``.`` mean nothing; ``..`` is refused, also where it would stay inside: no honest archive has
    it. Raises EntryError.
    """
    parts = [part for part in path.split(b"/") if part and part != b"."]
    if b".." in parts:
        raise EntryError('its path has ".." in it')
    if len(parts) > depth:
        raise EntryError(f"its path is deeper than {depth} directories")
    if len(path) > name and any(len(part) > name for part in parts):
        raise EntryError(f"a name in its path is longer than {name} bytes")
    return parts
