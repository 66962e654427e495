"""Who this machine is to registries: files that podman, skopeo and docker write, and credential helpers.

Everything is read when a registry asks who we are: who logs in is known at the next pull. In order, and the first that
knows the registry counts:

    credential-helpers of registries.conf, ["containers-auth.json"] when it has none; that one stands for the files:
    $REGISTRY_AUTH_FILE alone when it is set; else
    ${XDG_RUNTIME_DIR}/containers/auth.json, /run/containers/UID/auth.json without XDG_RUNTIME_DIR
    ${XDG_CONFIG_HOME}/containers/auth.json, ~/.config
    ${DOCKER_CONFIG}/config.json, ~/.docker
    ~/.dockercfg

Of a file, its ``credHelpers`` for the host count before its ``auths``, and its ``credsStore`` for all other hosts.

Source: containers-auth.json(5), containers-registries.conf(5); docker.com: docker login, credential stores.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from nsrun.errors import ImageError, SettingsError, describe_errno
from nsrun.images.credential_helper import CredentialHelper
from nsrun.model.credentials import HUB_KEYS, Credential, Credentials
from nsrun.model.dockerconfig import DockerConfig, file_key, read_docker_config, read_dockercfg
from nsrun.support.fds import Fd

__all__ = [
    "AUTH_FILES",
    "FileKeychain",
    "Keychain",
    "auth_files",
    "helper_keys",
    "read_auth_file",
    "read_regular",
]

AUTH_FILES = "containers-auth.json"
"""What stands for the files among the ``credential-helpers`` of registries.conf."""

_LEGACY = ".dockercfg"
_FILE_LIMIT = 4 << 20
_HUB_SERVER = "https://index.docker.io/v1/"


class Keychain(Protocol):
    """Credentials of this machine; ``Credentials`` are such, too."""

    def find(self, host: str, repository: str) -> tuple[Credential, ...]:
        """Those for a repository, in the order in which to try them. Blocks. Raises ImageError."""
        ...


class FileKeychain:
    """Those of files and helpers. ``sources``: ``credential-helpers`` of registries.conf."""

    def __init__(
        self, files: Sequence[Path], environment: Mapping[str, str], *, sources: Sequence[str] = (AUTH_FILES,)
    ) -> None:
        self._files = tuple(files)
        self._environment = dict(environment)
        self._sources = tuple(sources) or (AUTH_FILES,)

    def find(self, host: str, repository: str) -> tuple[Credential, ...]:
        for source in self._sources:
            found = self._in_files(host, repository) if source == AUTH_FILES else self._ask(source, host)
            if found:
                return found
        return ()

    def _in_files(self, host: str, repository: str) -> tuple[Credential, ...]:
        for path in self._files:
            try:
                said = read_auth_file(path)
            except SettingsError as error:
                raise ImageError(error.message, hint=error.hint) from None
            found = self._said(said, host, repository)
            if found:
                return found
        return ()

    def _said(self, said: DockerConfig, host: str, repository: str) -> tuple[Credential, ...]:
        helper = said.helper(host)
        kept = self._ask(helper, host) if helper else ()
        return kept or Credentials(entries=said.auths).find(host, repository)

    def _ask(self, name: str, host: str) -> tuple[Credential, ...]:
        helper = CredentialHelper(name, self._environment)
        found = (helper.get(key) for key in helper_keys(host))
        return next(((credential,) for credential in found if credential is not None), ())


def auth_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files to read, in order. The first is the one that ``nsrun login`` writes."""
    named = environment.get("REGISTRY_AUTH_FILE")
    if named:
        return (Path(named),)
    home = Path(environment.get("HOME") or _home())
    runtime = environment.get("XDG_RUNTIME_DIR")
    own = Path(runtime, "containers") if runtime else Path(f"/run/containers/{os.geteuid()}")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    return (own / "auth.json", config / "containers" / "auth.json", docker / "config.json", home / _LEGACY)


def helper_keys(host: str) -> tuple[str, ...]:
    """What a helper may know a registry by: Docker's own name for its Hub comes first."""
    return (_HUB_SERVER, HUB_KEYS[0]) if host in HUB_KEYS else (host,)


def read_auth_file(path: Path) -> DockerConfig:
    """What a file says, nothing when it is not there. Raises SettingsError; no text of it holds a secret."""
    data = read_regular(path)
    try:
        if path.name == _LEGACY:
            return read_dockercfg(data, file_key)
        return read_docker_config(data, file_key)
    except ValueError as error:
        raise SettingsError(f'cannot read "{path}": {error}') from None


def read_regular(path: Path) -> bytes:
    """A file's content, nothing when it is not there. Never waits for a FIFO. Raises SettingsError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise SettingsError(f'cannot read "{path}": {describe_errno(error.errno or 0)}') from None
    with Fd(fd):
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise SettingsError(f'cannot read "{path}": it is not a regular file')
        if found.st_size > _FILE_LIMIT:
            raise SettingsError(f'cannot read "{path}": it is larger than {_FILE_LIMIT >> 20} MiB')
        return os.read(fd, _FILE_LIMIT)


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
