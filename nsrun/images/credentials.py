"""Who we are to registries: containers-auth.json(5) and Docker's config.json.

Looked up in order: $REGISTRY_AUTH_FILE alone when it is set; else ${XDG_RUNTIME_DIR}/containers/auth.json,
${XDG_CONFIG_HOME}/containers/auth.json, ~/.docker/config.json. Credential helpers are programs, and are not run.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from nsrun.errors import SettingsError

__all__ = ["Credential", "Credentials", "auth_files", "load_credentials"]

# The keys under which Docker Hub's credentials are kept by those who wrote them
_HUB_KEYS = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user and a password, or an identity token (then ``username`` means nothing)."""

    username: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Credentials by key: ``host[:port]`` or ``host[:port]/path…``."""

    entries: Mapping[str, Credential] = field(default_factory=dict)

    def find(self, host: str, repository: str) -> Credential | None:
        """The credential for a repository: that of the longest matching path, else that of the host."""
        hosts = _HUB_KEYS if host in _HUB_KEYS else (host,)
        parts = repository.split("/")
        for length in range(len(parts), -1, -1):
            for name in hosts:
                found = self.entries.get("/".join([name, *parts[:length]]))
                if found is not None:
                    return found
        return None


def auth_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files to read, first found entry counts."""
    named = environment.get("REGISTRY_AUTH_FILE")
    if named:
        return (Path(named),)
    home = environment.get("HOME")
    runtime = environment.get("XDG_RUNTIME_DIR") or "/run"
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
    files = [Path(runtime, "containers", "auth.json")]
    if config:
        files.append(Path(config, "containers", "auth.json"))
    if home:
        files.append(Path(home, ".docker", "config.json"))
    return tuple(files)


def load_credentials(files: tuple[Path, ...]) -> Credentials:
    """Reads every file that is there. Raises SettingsError; the text never holds a secret."""
    entries: dict[str, Credential] = {}
    for file in files:
        for key, credential in _read(file).items():
            entries.setdefault(key, credential)
    return Credentials(entries=entries)


def _read(path: Path) -> dict[str, Credential]:
    try:
        document: object = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f'cannot read "{path}": {(error.strerror or str(error)).lower()}') from None
    except ValueError:
        raise SettingsError(f'cannot read "{path}": it is not JSON') from None
    auths = document.get("auths", {}) if isinstance(document, dict) else None
    if not isinstance(auths, dict):
        raise SettingsError(f'cannot read "{path}": auths must be an object')
    entries: dict[str, Credential] = {}
    for key, value in auths.items():
        credential = _credential(path, key, value)
        if credential is not None:
            entries.setdefault(_key(key), credential)
    return entries


def _key(text: str) -> str:
    """``https://index.docker.io/v1/`` → ``index.docker.io``: what Docker writes, as a host or a path below one."""
    host, _, path = text.removeprefix("https://").removeprefix("http://").strip("/").partition("/")
    return host if "://" in text or not path else f"{host}/{path}"


def _credential(path: Path, key: str, value: object) -> Credential | None:
    if not isinstance(value, dict):
        raise SettingsError(f'cannot read "{path}": the entry "{key}" must be an object')
    entry = cast("dict[str, object]", value)
    token = entry.get("identitytoken")
    auth = entry.get("auth")
    if not isinstance(auth, str) or not auth:
        return None  # a credential helper keeps it
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = user = password = ""
    if not colon:
        raise SettingsError(f'cannot read "{path}": auth of the entry "{key}" is not base64 of USER:PASSWORD')
    return Credential(
        username=user, password=password.rstrip("\0"), identity_token=token if isinstance(token, str) else ""
    )
