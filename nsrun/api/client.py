"""The client of nsrun's own socket. It imports next to nothing: listing pods leaves no time for that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from nsrun.api.exchange import connect, exchange
from nsrun.errors import ApiError, ManifestError

__all__ = ["ApiClient"]

_TIMEOUT = 30.0


class ApiClient:
    """Asks the daemon that listens at ``socket_path``; each answer must begin within ``timeout`` seconds."""

    def __init__(self, socket_path: Path, *, timeout: float = _TIMEOUT) -> None:
        self._path = socket_path
        self._timeout = timeout

    def running(self) -> bool:
        """Is there a daemon?"""
        try:
            connect(self._path, timeout=self._timeout).close()
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

    def usage(self) -> dict[str, object]:
        """What everything that runs uses, and how fast (``usage_document``). Raises ApiError."""
        document = self._request("GET", "/nsrun/usage")
        return document if isinstance(document, dict) else {}

    def down(self, grace: float | None = None) -> None:
        """Asks for every pod to be removed, and for the daemon's end. Returns when that has begun. Raises ApiError.

        ``grace``: seconds for every pod, instead of its own.
        """
        self._request("POST", "/nsrun/down" if grace is None else f"/nsrun/down?grace={grace:g}")

    def pod(self, namespace: str, name: str) -> dict[str, object] | None:
        """One v1.Pod, None when it is not there (yet). Raises ApiError."""
        status, body = self._exchange("GET", f"/nsrun/pods/{namespace}/{name}")
        return _accepted(status, body) if status != 404 else None

    def add_pod(self, document: bytes) -> dict[str, object]:
        """Asks for the one pod that a document describes: ``{"pod": v1.Pod, "warnings": […]}``. Raises ApiError;
        ManifestError with all that is wrong."""
        return _accepted(*self._exchange("POST", "/nsrun/pods", document))

    def remove_pod(self, namespace: str, name: str) -> None:
        """Takes a pod back that was asked for so; returns when its end has begun. Raises ApiError."""
        _accepted(*self._exchange("DELETE", f"/nsrun/pods/{namespace}/{name}"))

    def signal_pod(self, namespace: str, name: str, number: int) -> None:
        """Signals the first process of each of its containers that run. Raises ApiError."""
        _accepted(*self._exchange("POST", f"/nsrun/pods/{namespace}/{name}/signal?number={number}"))

    def control(
        self, namespace: str, pod: str, verb: str, *, containers: Sequence[str] = (), grace: float | None = None
    ) -> Iterator[dict[str, object]]:
        """Has containers stopped, started or restarted, none named: all of the pod's. Gives, for each, what it waits
        for until it is done or failed, at least once a second (``control_routes``). Raises ApiError."""
        query = "&".join(
            [*(f"container={name}" for name in containers), *(() if grace is None else (f"grace={grace:g}",))]
        )
        yield from self._lines("POST", f"/nsrun/pods/{namespace}/{pod}/{verb}?{query}", self._timeout)

    def events(self) -> list[dict[str, object]]:
        """v1.Event objects, the last one seen at the end. Raises ApiError."""
        document = self._request("GET", "/nsrun/events")
        return document["items"] if isinstance(document, dict) else []

    def watch(self, what: str, *, seconds: float | None = None) -> Iterator[dict[str, object]]:
        """``pods`` or ``events``: all there are, a ``BOOKMARK``, and what changes from then on, each with its ``type``
        and ``object`` (``watch_routes``). For so many seconds, or until nsrun ends. Raises ApiError."""
        if seconds is None:
            yield from self._lines("GET", f"/nsrun/{what}?watch=1", None)
        else:
            target = f"/nsrun/{what}?watch=1&timeoutSeconds={seconds:.3f}"
            yield from self._lines("GET", target, seconds + self._timeout)

    def _lines(self, method: str, target: str, timeout: float | None) -> Iterator[dict[str, object]]:
        """``timeout``: seconds for each line to come, None for ever."""
        try:
            with exchange(self._path, method, target, timeout=timeout) as answer:
                if answer.status >= 300:
                    _accepted(answer.status, answer.whole())
                for line in answer.body:
                    yield json.loads(line)
        except (OSError, EOFError, ValueError) as error:
            raise _unreachable(self._path, error, timeout or 0.0) from error

    def _request(self, method: str, target: str) -> object:
        status, body = self._exchange(method, target)
        if status >= 300:
            raise ApiError(f"cannot {method.lower()} {target}: {body.decode(errors='replace').strip()}")
        return json.loads(body)

    def _exchange(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        try:
            with exchange(self._path, method, target, body=body, timeout=self._timeout) as answer:
                return answer.status, answer.whole()
        except (OSError, EOFError) as error:
            raise _unreachable(self._path, error, self._timeout) from error


def _accepted(status: int, body: bytes) -> dict[str, object]:
    """What ``pod_routes`` answers. Raises ApiError; ManifestError."""
    document = _document(body)
    if status < 300:
        return document
    problems = document.get("problems")
    if isinstance(problems, list):
        raise ManifestError(tuple(str(problem) for problem in problems))
    hint = document.get("hint")
    raise ApiError(str(document.get("message") or f"nsrun answered {status}"), hint=str(hint) if hint else None)


def _document(body: bytes) -> dict[str, object]:
    """Empty when it is none."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _unreachable(path: Path, error: Exception, timeout: float) -> ApiError:
    if isinstance(error, PermissionError):
        return ApiError(
            f'cannot reach nsrun at "{path}": permission denied', hint="nsrun was started by root: use sudo"
        )
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return ApiError(
            f'cannot reach nsrun at "{path}": no nsrun is running here',
            hint="start it with: nsrun --manifests DIR, as root or not; or name its run directory with --run-dir",
        )
    if isinstance(error, TimeoutError):
        return ApiError(
            f'cannot reach nsrun at "{path}": no answer within {timeout:g} s',
            hint="it is there, but stopped (kill -CONT), or the machine is overloaded",
        )
    return ApiError(f'cannot reach nsrun at "{path}": {error}')
