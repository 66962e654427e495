"""Programs that keep credentials: ``docker-credential-NAME get|store|erase|list`` (docker/docker-credential-helpers).

    get     stdin: the registry            stdout: {"ServerURL": …, "Username": …, "Secret": …}
    store   stdin: the same JSON
    erase   stdin: the registry
    list                                   stdout: {registry: user}

The user ``<token>`` means that the secret is an identity token. Such a program may be anybody's: it gets a time limit,
what it prints is bounded and never shown, and as root we run none that another user could have put in its place.
Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from nsrun.errors import ImageError, describe_errno
from nsrun.host.userns import own_user_namespace
from nsrun.images.wording import printable
from nsrun.model.credentials import Credential

__all__ = ["CredentialHelper"]

_ABSENT = b"credentials not found in native keychain"
_TOKEN_USER = "<token>"
_OUTPUT_LIMIT = 256 << 10
_SECONDS = 60.0
_NOBODY = 65534  # kernel.overflowuid
_SYSTEM = frozenset({"usr", "bin", "sbin", "nix", "gnu"})
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CredentialHelper:
    """One of them. ``name``: what follows ``docker-credential-``. ``seconds``: how long a call may take."""

    def __init__(self, name: str, environment: Mapping[str, str], *, seconds: float = _SECONDS) -> None:
        self._name = name
        # nsrun's own settings are nobody else's business; AWS_PROFILE and its like are theirs.
        self._environment = {key: value for key, value in environment.items() if not key.startswith("NSRUN_")}
        self._seconds = seconds

    def get(self, registry: str) -> Credential | None:
        """What it keeps for a registry, None when that is nothing. Raises ImageError."""
        code, output = self._run("get", registry.encode())
        if code != 0:
            if output.strip() == _ABSENT:
                return None
            raise self._failure(registry, f"it ended with {_ending(code)}")
        return self._read(registry, output)

    def store(self, registry: str, credential: Credential) -> None:
        """Gives it a credential to keep. Raises ImageError."""
        token = credential.identity_token
        said = {
            "ServerURL": registry,
            "Username": _TOKEN_USER if token else credential.username,
            "Secret": token or credential.password,
        }
        self._order("store", registry, json.dumps(said).encode())

    def erase(self, registry: str) -> None:
        """Makes it forget a registry; nothing happens when it knows none. Raises ImageError."""
        self._order("erase", registry, registry.encode())

    def registries(self) -> tuple[str, ...]:
        """Every registry that it keeps something for. Raises ImageError."""
        code, output = self._run("list", b"unused")
        try:
            said: object = json.loads(output)
        except (ValueError, RecursionError):
            said = None
        if code != 0 or not isinstance(said, dict):
            raise self._wrong("it does not list what it keeps")
        return tuple(said)

    def _order(self, action: str, registry: str, data: bytes) -> None:
        code, output = self._run(action, data)
        if code != 0 and output.strip() != _ABSENT:
            raise self._failure(registry, f"it ended with {_ending(code)}")

    def _read(self, registry: str, output: bytes) -> Credential | None:
        try:
            said: object = json.loads(output)
        except (ValueError, RecursionError):
            said = None
        fields = said if isinstance(said, dict) else {}
        user, secret = fields.get("Username"), fields.get("Secret")
        if not isinstance(user, str) or not isinstance(secret, str):
            raise self._failure(registry, "what it answered is not a JSON object with Username and Secret")
        if not user and not secret:
            return None
        if user == _TOKEN_USER:
            return Credential(identity_token=secret)
        return Credential(username=user, password=secret)

    def _run(self, action: str, data: bytes) -> tuple[int, bytes]:
        """Its exit status as ``Popen.returncode``, and what it printed."""
        program = self._program()
        try:
            process = subprocess.Popen(
                [program, action],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise self._wrong(describe_errno(error.errno or 0)) from None
        try:
            return self._talk(process, data)
        finally:
            _end(process)

    def _talk(self, process: subprocess.Popen[bytes], data: bytes) -> tuple[int, bytes]:
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + self._seconds
        source, sink, ended = process.stdout.fileno(), process.stdin.fileno(), os.pidfd_open(process.pid)
        os.set_blocking(source, False)
        os.set_blocking(sink, False)
        rest, output = memoryview(data), bytearray()
        waiting = select.poll()  # not select(2), which knows no descriptor above 1023
        for fd, events in ((source, select.POLLIN), (ended, select.POLLIN), (sink, select.POLLOUT)):
            waiting.register(fd, events)
        try:
            over = False
            while not over:
                left = deadline - time.monotonic()
                ready = {fd for fd, _ in waiting.poll(max(left, 0) * 1000)}
                if left <= 0:
                    raise self._wrong(f"it did not answer within {self._seconds:.0f} s")
                if sink in ready:
                    rest = _write(sink, rest)
                    if not rest:
                        waiting.unregister(sink)
                        process.stdin.close()
                over = ended in ready  # a child of its own may hold the pipe
                piece = _available(source) if source in ready or over else b""
                if source in ready and not piece:
                    waiting.unregister(source)  # it is at its end
                output += piece
                if len(output) > _OUTPUT_LIMIT:
                    raise self._wrong(f"it printed more than {_OUTPUT_LIMIT >> 10} KiB")
        finally:
            os.close(ended)
        return process.wait(), bytes(output)

    def _program(self) -> str:
        """Where it is. Raises ImageError, also when it is somebody else's."""
        name = f"docker-credential-{self._name}"
        for directory in self._environment.get("PATH", _DEFAULT_PATH).split(":"):
            path = os.path.join(directory, name)
            if directory.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
                real = os.path.realpath(path)
                for step in {*_steps(path), *_steps(real)}:
                    if not _is_ours(step):
                        raise self._wrong(
                            f'"{printable(str(step))}" belongs to another user, or another one may write it',
                            hint=f"let \"{printable(path)}\" and every directory above it be root's, and nobody else's",
                        )
                return real
        raise self._wrong("there is no such program in $PATH", hint=f"install {name}")

    def _failure(self, registry: str, cause: str) -> ImageError:
        program = f"docker-credential-{self._name}"
        return self._wrong(cause, hint=f"echo {printable(registry)} | {program} get shows more")

    def _wrong(self, cause: str, hint: str | None = None) -> ImageError:
        return ImageError(f'the credential helper "docker-credential-{self._name}" is of no use: {cause}', hint=hint)


def _steps(path: str) -> Iterator[Path]:
    """A path and every directory above it."""
    yield Path(path)
    yield from Path(path).parents


def _is_the_systems(path: Path) -> bool:
    """In a user namespace everybody of the host's looks like nobody (user_namespaces(7)), its root too. Whose these are
    is sure all the same: only root can make something in / or in /usr and its like."""
    return own_user_namespace() is not None and (len(path.parts) <= 2 or path.parts[1] in _SYSTEM)


def _is_ours(path: Path) -> bool:
    """Whether only root, and whoever we are, can have made it what it is. In a sticky directory, and as links, things
    are their owner's."""
    found = path.lstat()
    if found.st_uid not in (0, os.geteuid()) and not (found.st_uid == _NOBODY and _is_the_systems(path)):
        return False
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return True
    others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0)
    return not others


def _write(sink: int, data: memoryview) -> memoryview:
    """What is left of it. Who does not want to read has its reasons."""
    try:
        return data[os.write(sink, data) :]
    except BrokenPipeError:
        return data[len(data) :]
    except BlockingIOError:
        return data


def _available(source: int) -> bytes:
    """What can be read now, and a byte more than is allowed at most."""
    found = bytearray()
    while len(found) <= _OUTPUT_LIMIT:
        try:
            piece = os.read(source, 64 << 10)
        except BlockingIOError:
            break
        if not piece:
            break
        found += piece
    return bytes(found)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills it, with what it started, when it has not ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _ending(code: int) -> str:
    return f"code {code}" if code >= 0 else f"signal {-code}"
