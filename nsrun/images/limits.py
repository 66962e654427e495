"""How much a layer may ask for before it is taken for an attack."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_LIMITS", "Limits"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one layer. Sizes in bytes.

    ``entries``: headers of every kind in the archive. ``size``: the archive uncompressed, and the sum of its files as
    they will appear (a sparse file counts in full). ``ratio``: uncompressed over compressed, looked at once more than
    ``ratio_from`` came out: gzip makes 1032 bytes of one at most, and small layers full of zeros are honest. ``path``
    and ``name``: PATH_MAX without its NUL, and NAME_MAX. ``depth``: components of a path. ``header``: one PAX header or
    GNU long name. ``sparse_pieces``: data regions of one sparse file. ``zstd_window``: as ``zstd --long=27`` makes it.
    """

    entries: int = 1_000_000
    size: int = 64 << 30
    ratio: int = 250
    ratio_from: int = 512 * _MIB
    path: int = 4095
    name: int = 255
    depth: int = 512
    header: int = _MIB
    sparse_pieces: int = 65_536
    zstd_window: int = 128 * _MIB


DEFAULT_LIMITS = Limits()
