"""The auth.json that logging in writes: one entry changes, everything else in it stays, and nobody else reads it.

It is replaced in one step (tmp + fsync + rename, mode 0600) under a lock on its directory, so two who log in at once
both do. A link is followed, so that a file that lives elsewhere stays there. Everything here blocks.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

from nsrun.errors import SettingsError, describe_errno
from nsrun.images.keychain import read_auth_file, read_regular
from nsrun.model.credentials import Credential
from nsrun.model.dockerconfig import DockerConfig, file_key
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd

__all__ = ["AuthFile"]

_Document = dict[str, object]


class AuthFile:
    """One such file, which need not be there yet. Every method raises SettingsError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def said(self) -> DockerConfig:
        """What it says now."""
        return read_auth_file(self.path)

    def keep(self, key: str, credential: Credential) -> None:
        """The credential of ``host[/path]`` from now on."""
        pair = f"{credential.username}:{credential.password}".encode()
        entry: dict[str, str] = {"auth": base64.b64encode(pair).decode()}
        if credential.identity_token:
            entry["identitytoken"] = credential.identity_token

        def edit(auths: _Document) -> bool:
            _drop(auths, key)
            auths[key] = entry
            return True

        self._change(edit)

    def forget(self, key: str) -> bool:
        """False when it knew none of that key."""
        return self._change(lambda auths: _drop(auths, key))

    def forget_all(self) -> None:
        """No entry is left; which helpers are to be used stays."""

        def edit(auths: _Document) -> bool:
            auths.clear()
            return True

        if self.path.exists():
            self._change(edit)

    def _change(self, edit: Callable[[_Document], bool]) -> bool:
        """``edit`` is given the ``auths`` and says whether it changed them."""
        path = Path(os.path.realpath(self.path))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with Fd.open(path.parent, os.O_RDONLY | os.O_DIRECTORY) as directory:
                fcntl.flock(directory.fileno(), fcntl.LOCK_EX)
                document = self._document(path)
                auths = document.setdefault("auths", {})
                changed = edit(cast("_Document", auths))
                if changed:
                    write_atomic(path, json.dumps(document, indent="\t").encode() + b"\n")
                return changed
        except OSError as error:
            raise SettingsError(f'cannot write "{self.path}": {describe_errno(error.errno or 0)}') from None

    def _document(self, path: Path) -> _Document:
        if path.name == ".dockercfg":
            raise SettingsError(f'cannot write "{self.path}": that older form is only read')
        self.said()  # what cannot be read is not written anew
        document = cast("_Document", json.loads(read_regular(path) or b"{}"))
        if document.get("auths") is None:
            document["auths"] = {}
        return document


def _drop(auths: _Document, key: str) -> bool:
    """Removes a key however it is written: ``https://host/v1/`` is ``host``."""
    found = [written for written in auths if file_key(written) == key]
    for written in found:
        del auths[written]
    return bool(found)
