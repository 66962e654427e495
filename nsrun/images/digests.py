"""Digests: ``algorithm:hex``, the names under which content is verified. Only sha256 and sha512 exist here.

Source: OCI image-spec, descriptor.md. A digest becomes a file name and a URL, so nothing but the exact grammar passes.
"""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

__all__ = ["DIGEST_PATTERN", "Hasher", "digest_of", "is_digest", "new_hasher", "split_digest"]

DIGEST_PATTERN = r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}"

_DIGEST = re.compile(DIGEST_PATTERN, re.ASCII)


class Hasher(Protocol):
    """What is used of a ``hashlib`` object."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


def is_digest(text: str) -> bool:
    """Whether ``text`` is exactly one digest, with nothing before or behind it."""
    return _DIGEST.fullmatch(text) is not None


def split_digest(digest: str) -> tuple[str, str]:
    """``sha256:ab…`` → ``("sha256", "ab…")``. Raises ValueError for anything that is not a digest."""
    if not is_digest(digest):
        raise ValueError(f"not a sha256 or sha512 digest: {digest!r}")
    algorithm, _, encoded = digest.partition(":")
    return algorithm, encoded


def new_hasher(digest: str) -> Hasher:
    """A fresh hash object of the digest's algorithm. Raises ValueError."""
    algorithm, _ = split_digest(digest)
    return hashlib.sha256() if algorithm == "sha256" else hashlib.sha512()


def digest_of(data: bytes, *, like: str = "") -> str:
    """The digest of ``data``: sha256, or the algorithm of the digest ``like``."""
    if like.startswith("sha512:"):
        return f"sha512:{hashlib.sha512(data).hexdigest()}"
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
