"""Who somebody is to registries: values, and which of them is for which repository. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

__all__ = ["HUB", "HUB_KEYS", "Credential", "Credentials"]

HUB = "docker.io"
HUB_KEYS = (HUB, "index.docker.io", "registry-1.docker.io")
"""The names under which Docker Hub's credentials are kept by those who wrote them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user and a password; or an identity token, which a token service takes instead of both; or a registry token,
    which the registry itself takes. ``secret``: ``namespace/name`` of the Secret it is from, "" for this machine's."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Credentials with their keys, in the order in which they were given. A key is ``host[:port]`` or
    ``host[:port]/path…``; the host may hold wildcards (``*``, ``?``), each of which stays within one label."""

    entries: tuple[tuple[str, Credential], ...] = ()

    def find(self, host: str, repository: str) -> tuple[Credential, ...]:
        """Those for a repository, to be tried in this order: the longest path first, a host before a pattern of it.

        ``host`` has its port when its name has one: a key without a port says nothing about another one than HTTPS's.
        """
        ranked = sorted(self._matching(host, repository), key=lambda found: found[0], reverse=True)
        return tuple(dict.fromkeys(credential for _, credential in ranked))

    def _matching(self, host: str, repository: str) -> Iterator[tuple[tuple[int, bool], Credential]]:
        names = HUB_KEYS if host in HUB_KEYS else (host,)
        path = repository.split("/")
        for key, credential in self.entries:
            pattern, _, rest = key.partition("/")
            parts = rest.split("/") if rest else []
            if path[: len(parts)] != parts:
                continue
            if pattern in names:
                yield (len(parts), True), credential
            elif any(_fits(name, pattern) for name in names):
                yield (len(parts), False), credential


def _fits(host: str, pattern: str) -> bool:
    """As kubernetes.io describes it for image pull secrets: label by label, the port literally."""
    if "*" not in pattern and "?" not in pattern:
        return False
    name, _, port = host.partition(":")
    wanted, _, wanted_port = pattern.partition(":")
    labels, patterns = name.split("."), wanted.split(".")
    return port == wanted_port and len(labels) == len(patterns) and all(map(fnmatchcase, labels, patterns))
