"""Image references: what people write, and the one full name it stands for.

    nginx                        → docker.io/library/nginx:latest
    localhost:5000/a/b:v1        → localhost:5000/a/b:v1
    QUAY.io/a/b:v1@sha256:…      → quay.io/a/b@sha256:…       (the digest decides; the tag beside it proves nothing)

The grammar is distribution/reference's, the normalisation is Docker's. A reference becomes part of URLs and of names in
the store, so every part is matched whole, in ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nsrun.errors import ImageError
from nsrun.images.digests import is_digest
from nsrun.images.wording import printable

__all__ = [
    "DEFAULT_REGISTRY",
    "Reference",
    "is_registry_host",
    "is_repository_path",
    "is_short_name",
    "parse_reference",
]

DEFAULT_REGISTRY = "docker.io"
_LEGACY_DEFAULT_REGISTRY = "index.docker.io"
_OFFICIAL = "library/"
_DEFAULT_TAG = "latest"
_NAME_LIMIT = 255

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_BARE_DIGEST = re.compile(r"[a-f0-9]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A full name: registry host, repository path, and exactly one of tag and digest (the other is empty)."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """``docker.io/library/nginx``: the name without tag and digest."""
        return f"{self.host}/{self.path}"

    @property
    def identifier(self) -> str:
        """What a registry is asked for: the tag or the digest."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def is_registry_host(text: str) -> bool:
    """Whether ``text`` is ``host[:port]`` as a reference may have it."""
    return _HOST.fullmatch(text) is not None


def is_repository_path(text: str) -> bool:
    """Whether ``text`` is a repository's path: lower case components joined by slashes."""
    return _PATH.fullmatch(text) is not None


def is_short_name(text: str) -> bool:
    """Whether ``text`` names no registry, as ``nginx`` and ``somebody/nginx:1``.

    A first component is a registry's host when it cannot be a user of Docker Hub: a dot, a port, localhost, upper case.
    """
    first, slash, _ = text.partition("/")
    return not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower())


def parse_reference(text: str) -> Reference:
    """Reads and normalises what a person wrote. Raises ImageError (InvalidImageName)."""
    if not text:
        raise _invalid(text, "it is empty")
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, "what follows the @ is not a sha256 or sha512 digest")
    host, path = _split_host(rest)
    path, tag = _split_tag(path)
    _check(text, host, path, tag)
    if at:
        return Reference(host=host, path=path, digest=digest)
    return Reference(host=host, path=path, tag=_DEFAULT_TAG if tag is None else tag)


def _split_host(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("/")
    if is_short_name(text):
        host, path = DEFAULT_REGISTRY, text
    else:
        host, path = _plain_host(first), rest
    if host == DEFAULT_REGISTRY and "/" not in path:
        path = _OFFICIAL + path
    return host, path


def _plain_host(host: str) -> str:
    """One name for one registry, so that what is said about it (blocked, policies, credentials) cannot be got round:
    in lower case, unless it would be taken for a user then."""
    lowered = host.lower()
    if lowered == _LEGACY_DEFAULT_REGISTRY:
        return DEFAULT_REGISTRY
    return host if is_short_name(f"{lowered}/x") else lowered


def _split_tag(path: str) -> tuple[str, str | None]:
    name, colon, tag = path.rpartition(":")
    return (name, tag) if colon else (path, None)


def _check(text: str, host: str, path: str, tag: str | None) -> None:
    if _BARE_DIGEST.fullmatch(text):
        raise _invalid(text, "64 hexadecimal digits would be taken for a digest", hint=f"write NAME@sha256:{text}")
    if not is_registry_host(host):
        raise _invalid(text, f'"{host}" is not a registry\'s host name')
    if not is_repository_path(path):
        if is_repository_path(path.lower()):
            raise _invalid(text, "the repository's name must be lower case")
        raise _invalid(text, f'"{path}" is not a repository\'s name')
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(text, f'"{tag}" is not a tag')
    if len(host) + 1 + len(path) > _NAME_LIMIT:
        raise _invalid(text, f"its name is longer than {_NAME_LIMIT} characters")


def _invalid(text: str, cause: str, *, hint: str | None = None) -> ImageError:
    # The text may be anything: neither control characters nor a megabyte of name reach a terminal or a log.
    return ImageError(
        f'cannot use image name "{printable(text)}": {printable(cause)}', reason="InvalidImageName", hint=hint
    )
