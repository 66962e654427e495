"""Logging in to registries and out again, as podman and skopeo do. Everything here blocks.

The credential is kept where the configuration wants it: in the first of the ``credential-helpers`` of registries.conf;
where those are the files, in the first file, or with the helper that this file names for the registry.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import ImageError, NotFoundError, SettingsError
from nsrun.images.auth import TokenRefused
from nsrun.images.authfile import AuthFile
from nsrun.images.connection import Connection
from nsrun.images.credential_helper import CredentialHelper
from nsrun.images.exchange import Request
from nsrun.images.keychain import AUTH_FILES, FileKeychain, helper_keys
from nsrun.images.reference import is_registry_host, is_repository_path
from nsrun.images.registries import Endpoint, Registries
from nsrun.images.retry import Transient
from nsrun.images.tls import Certificates
from nsrun.images.transport import Cancellation
from nsrun.images.wording import printable
from nsrun.model.credentials import HUB, HUB_KEYS, Credential, Credentials
from nsrun.model.dockerconfig import file_key

__all__ = ["Account", "Logins", "parse_account"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where somebody logs in: a registry, or what is below a path of it."""

    host: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.host}/{self.path}" if self.path else self.host


def parse_account(text: str) -> Account:
    """``host[:port][/path]``, with or without a scheme. Raises SettingsError."""
    host, _, path = file_key(text).partition("/")
    if not is_registry_host(host) or (path and not is_repository_path(path)):
        raise SettingsError(f'cannot log in to "{printable(text)}": it must be host[:port][/path]')
    return Account(host=HUB if host in HUB_KEYS else host, path=path)


class Logins:
    """Who is logged in. ``files``: where credentials are, the first is the one that is written."""

    def __init__(
        self,
        *,
        files: tuple[Path, ...],
        registries: Registries,
        certificates: Certificates,
        environment: Mapping[str, str],
    ) -> None:
        self.file = AuthFile(files[0])
        self._others = files[1:]
        self._registries = registries
        self._certificates = certificates
        self._environment = environment
        self._sources = registries.credential_helpers or (AUTH_FILES,)
        self._keychain = FileKeychain(files, environment, sources=self._sources)

    def account(self, text: str | None) -> Account:
        """What ``text`` means; without one, the registry where short names are looked for first. Raises
        SettingsError."""
        return parse_account(text or (*self._registries.names.registries, HUB)[0])

    def current(self, account: Account) -> Credential | None:
        """The credential that a pull would use. Raises ImageError."""
        return next(iter(self._keychain.find(account.host, account.path)), None)

    def verify(self, account: Account, credential: Credential) -> None:
        """Asks the registry whether it takes the credential. Raises ImageError."""
        endpoint = Endpoint(host=account.host, repository=account.path, insecure=self._is_insecure(account))
        connection = Connection(
            endpoint,
            keychain=Credentials(),
            certificates=self._certificates,
            environment=self._environment,
            now=time.monotonic,
        )
        try:
            status = _ask(connection, endpoint, credential)
        except (Transient, ImageError) as error:
            refused = isinstance(error, TokenRefused)
            cause = error.cause if isinstance(error, Transient) else error.message
            cause = f"the user or the password is wrong: {cause}" if refused else cause
            hint = None if refused else error.hint
            raise ImageError(f'cannot log in to "{account}": {cause}', hint=hint) from None
        finally:
            connection.close()
        if status in (401, 403):
            raise ImageError(f'cannot log in to "{account}": the user or the password is wrong')
        if status != 200:
            raise ImageError(f'cannot log in to "{account}": the registry answered {status}')

    def keep(self, account: Account, credential: Credential) -> str:
        """Keeps the credential; tells where. Raises SettingsError, ImageError."""
        helper, key = self._helper(account)
        if not helper:
            self.file.keep(str(account), credential)
            return str(self.file.path)
        self._of(helper).store(key, credential)
        return f"docker-credential-{helper}"

    def forget(self, account: Account) -> None:
        """Raises NotFoundError when nobody was logged in, SettingsError, ImageError."""
        helper, _ = self._helper(account)
        kept = False
        for key in helper_keys(account.host) if helper else ():
            if self._of(helper).get(key) is not None:
                self._of(helper).erase(key)
                kept = True
        if not self.file.forget(str(account)) and not kept:
            others = (path for path in self._others if self._is_known(account, path))
            hint = next((f'"{path}" knows a credential, and is not ours to change' for path in others), None)
            raise NotFoundError(f'cannot log out of "{account}": nobody is logged in', hint=hint)

    def _is_known(self, account: Account, path: Path) -> bool:
        return bool(Credentials(entries=AuthFile(path).said().auths).find(account.host, account.path))

    def forget_all(self) -> None:
        """Every credential of the file, and of the helpers it names. Raises SettingsError, ImageError."""
        said = self.file.said()
        for host, helper in said.helpers.items():
            for key in helper_keys(host):
                self._of(helper).erase(key)
        if said.store:
            for registry in self._of(said.store).registries():
                self._of(said.store).erase(registry)
        self.file.forget_all()

    def _helper(self, account: Account) -> tuple[str, str]:
        """The helper that keeps the credential of an account, and by what name of the registry; "" when the file does.
        They know hosts only."""
        if account.path:
            return "", ""
        if self._sources[0] != AUTH_FILES:
            return self._sources[0], account.host
        said = self.file.said()
        helper = said.helper(account.host)
        # Docker's store knows its Hub by another name than podman's helpers do.
        of_docker = helper == said.store and account.host not in said.helpers
        return helper, helper_keys(account.host)[0] if of_docker else account.host

    def _of(self, helper: str) -> CredentialHelper:
        return CredentialHelper(helper, self._environment)

    def _is_insecure(self, account: Account) -> bool:
        if self._registries.verify is not None:
            return not self._registries.verify
        table = self._registries.table(str(account))
        return table is not None and table.insecure


def _ask(connection: Connection, endpoint: Endpoint, credential: Credential) -> int:
    """The status of the registry's first page for whoever has the credential."""
    cancel = Cancellation()
    connection.settle(cancel)
    request = Request(method="GET", url=f"{connection.home.origin}/v2/")
    known = Credentials(entries=((endpoint.host, credential),))
    reply = connection.exchange(request, endpoint, cancel, credentials=known, scope="")
    reply.close()
    return reply.status
