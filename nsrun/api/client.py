"""The client of nsrun's own socket. Standard library only: listing pods leaves no time to import an HTTP framework."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path

from nsrun.errors import ApiError

__all__ = ["ApiClient"]

_TIMEOUT = 30.0


class ApiClient:
    """Asks the daemon that listens at ``socket_path``."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def running(self) -> bool:
        """Is there a daemon?"""
        try:
            _connect(self._path).close()
        except OSError:
            return False
        return True

    def pods(self) -> list[dict[str, object]]:
        """v1.Pod objects, as /pods gives them. Raises ApiError."""
        document = self._request("GET", "/pods")
        return document["items"] or [] if isinstance(document, dict) else []

    def info(self) -> dict[str, object]:
        """Version, directories, and what is wrong with manifests. Raises ApiError."""
        document = self._request("GET", "/nsrun/info")
        return document if isinstance(document, dict) else {}

    def down(self, grace: float | None = None) -> None:
        """Asks for every pod to be removed, and for the daemon's end. Returns when that has begun. Raises ApiError.

        ``grace``: seconds for every pod, instead of its own.
        """
        self._request("POST", "/nsrun/down" if grace is None else f"/nsrun/down?grace={grace:g}")

    def _request(self, method: str, path: str) -> object:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self._path, error) from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError(f"cannot {method.lower()} {path}: {body.decode(errors='replace').strip()}")
        return json.loads(body)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = _connect(self._path)
        self.sock.settimeout(self.timeout)


def _connect(path: Path) -> socket.socket:
    """Connects through the directory's fd, so that the path may be longer than sun_path's 108 bytes."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


def _unreachable(path: Path, error: Exception) -> ApiError:
    if isinstance(error, PermissionError):
        return ApiError(
            f'cannot reach nsrun at "{path}": permission denied', hint="nsrun was started by root: use sudo"
        )
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return ApiError(
            f'cannot reach nsrun at "{path}": no nsrun is running here',
            hint="start it with: sudo nsrun --manifests DIR; or name its run directory with --run-dir",
        )
    if isinstance(error, TimeoutError):
        return ApiError(
            f'cannot reach nsrun at "{path}": no answer within {_TIMEOUT:g} s',
            hint="it is there, but stopped (kill -CONT), or the machine is overloaded",
        )
    return ApiError(f'cannot reach nsrun at "{path}": {error}')
