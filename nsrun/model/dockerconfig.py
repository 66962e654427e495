"""Docker's config.json, and what became of it: containers-auth.json(5), the image pull secrets of Kubernetes. Pure.

    {"auths": {KEY: {"auth": base64 of USER:PASSWORD, "identitytoken": …, "registrytoken": …}},
     "credHelpers": {HOST: NAME}, "credsStore": NAME}

In the place of ``auth`` there may be ``username`` and ``password``.

The older ``.dockercfg`` is what is in ``auths``, alone. What cannot be read raises ValueError; no text of it holds
anything of the document but a key.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from nsrun.model.credentials import HUB_KEYS, Credential
from nsrun.model.wording import quoted

__all__ = ["DockerConfig", "file_key", "read_docker_config", "read_dockercfg", "secret_key"]

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerConfig:
    """``auths`` in the order of the document. ``helpers``: names of credential helpers by host; ``store``: that for
    every other host, "" for none."""

    auths: tuple[tuple[str, Credential], ...] = ()
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""

    def helper(self, host: str) -> str:
        """The name of the helper that keeps a host's credential, "" when that is in ``auths``."""
        names = HUB_KEYS if host in HUB_KEYS else (host,)
        return next((self.helpers[name] for name in names if name in self.helpers), self.store)


def file_key(text: str) -> str:
    """``https://index.docker.io/v1/`` → ``index.docker.io``: the keys of files, as podman and skopeo read them."""
    bare = _without_scheme(text)
    host, _, path = bare.strip("/").partition("/")
    host = host.lower()
    return host if bare != text or not path else f"{host}/{path}"


def secret_key(text: str) -> str:
    """``https://registry.example/v1/team`` → ``registry.example/team``: the keys of Secrets, as the kubelet does."""
    host, _, path = _without_scheme(text).strip("/").partition("/")
    version, _, rest = path.partition("/")
    path, host = rest if version in ("v1", "v2") else path, host.lower()
    return f"{host}/{path}" if path else host


def read_docker_config(data: bytes, key: Callable[[str], str], *, secret: str = "") -> DockerConfig:
    """Reads a config.json or an auth.json. ``secret``: as of a Credential. Raises ValueError with a clause."""
    document = _object(data)
    helpers = _member(document, "credHelpers")
    store = document.get("credsStore")
    return DockerConfig(
        auths=_auths(_member(document, "auths"), key, secret),
        helpers={file_key(host): _helper(f"credHelpers[{_shown(host)}]", name) for host, name in helpers.items()},
        store="" if store in (None, "") else _helper("credsStore", store),
    )


def read_dockercfg(data: bytes, key: Callable[[str], str], *, secret: str = "") -> DockerConfig:
    """Reads a ``.dockercfg``. Raises ValueError with a clause."""
    return DockerConfig(auths=_auths(_object(data), key, secret))


def _object(data: bytes) -> dict[str, object]:
    try:
        document: object = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("it must be a JSON object")
    return document


def _member(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object")
    return cast("dict[str, object]", value)


def _without_scheme(text: str) -> str:
    return text.removeprefix("https://").removeprefix("http://")


def _helper(where: str, name: object) -> str:
    """A name becomes part of a program's: nothing that leads elsewhere."""
    if not isinstance(name, str) or not _HELPER.fullmatch(name):
        raise ValueError(f"{where} must be the name of a credential helper: letters, digits, '-', '_' and '.'")
    return name


def _auths(auths: Mapping[str, object], key: Callable[[str], str], secret: str) -> tuple[tuple[str, Credential], ...]:
    found = ((key(name), _credential(name, value, secret)) for name, value in auths.items())
    return tuple((name, credential) for name, credential in found if credential is not None)


def _credential(key: str, value: object, secret: str) -> Credential | None:
    """None for an entry that says nothing: a credential helper keeps it."""
    if not isinstance(value, dict):
        raise ValueError(f"the entry {_shown(key)} must be an object")
    entry = cast("dict[str, object]", value)
    auth = _text(entry, "auth", key)
    if auth:
        username, password = _pair(auth, key)
    else:
        username, password = _text(entry, "username", key), _text(entry, "password", key)
    found = Credential(
        username=username,
        password=password,
        identity_token=_text(entry, "identitytoken", key),
        registry_token=_text(entry, "registrytoken", key),
        secret=secret,
    )
    return None if found == Credential(secret=secret) else found


def _text(entry: Mapping[str, object], name: str, key: str) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} of the entry {_shown(key)} must be text")
    return value


def _pair(auth: str, key: str) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        colon = user = password = ""
    if not colon:
        raise ValueError(f"auth of the entry {_shown(key)} is not base64 of USER:PASSWORD")
    return user, password.rstrip("\0")


def _shown(key: str) -> str:
    """A key as errors may tell it: without the user and the password that somebody wrote before the host."""
    return quoted(key.rpartition("@")[2])
