"""What a push asks of registries: requests with bodies, and answers of any status.

Everything goes to the registry with proof of identity; where it sends us by a Location header is its own origin, which
gets the same, or another one that it may send us to (``Home.objection``), which gets none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urljoin

from nsrun.errors import ImageError
from nsrun.images.connection import network_errors, read_at_most
from nsrun.images.exchange import Answer, Request, origin_of
from nsrun.images.refusal import said, shown_status
from nsrun.images.registries import Endpoint
from nsrun.images.registry import HEAD_SECONDS, SLOWEST, RegistryClient
from nsrun.images.retry import RETRIED_STATUSES, Transient, seconds_of_retry_after
from nsrun.images.transport import Cancellation

__all__ = ["PushClient", "header"]

T = TypeVar("T")

_SMALL_BODY = 64 << 10
_ATTEMPTS = 8


class PushClient(RegistryClient):
    """Asks registries to take something."""

    async def answer(self, request: Request, endpoint: Endpoint, *, scope: str, size: int = 0) -> Answer:
        """Whatever the answer is, with at most 64 KiB of its body, a Location in it as a whole URL.

        ``url`` may be a path at the registry. ``size``: bytes of the request's body, which may take their time. Raises
        ImageError, Transient.
        """

        def ask(cancel: Cancellation) -> Answer:
            connection = self._connection(endpoint)
            connection.settle(cancel)
            home = connection.home.origin
            whole = replace(request, url=urljoin(str(home), request.url))
            if origin_of(whole.url) == home:
                reply = connection.exchange(whole, endpoint, cancel, scope=scope)
            else:
                reply = connection.elsewhere(whole, cancel)
            try:
                with network_errors(endpoint.host):
                    body = b"" if request.method == "HEAD" else read_at_most(reply, _SMALL_BODY)
            finally:
                reply.close()
            headers = {name.lower(): tuple(reply.headers.get_all(name, ())) for name in reply.headers}
            if "location" in headers:
                headers["location"] = (urljoin(whole.url, headers["location"][0].strip(" \t")),)
            return Answer(status=reply.status, headers=headers, body=body)

        return await self._timed(ask, endpoint, HEAD_SECONDS + size / SLOWEST)

    async def persistently(self, work: Callable[[], Awaitable[T]], progress: Callable[[], int]) -> T:
        """Does it until it is done, with growing pauses; ``progress``: bytes that are there, for which attempts are
        counted anew. Raises ImageError."""
        return await self._retrying(work, replace(self._backoff, attempts=_ATTEMPTS), progress=progress)

    def refusal(self, answer: Answer, endpoint: Endpoint) -> Exception:
        """An answer that is no success, as Transient or ImageError."""
        cause = f'registry "{endpoint.host}" answered {shown_status(answer.status)}{said(answer.body)}'
        if answer.status in RETRIED_STATUSES:
            wait = seconds_of_retry_after(header(answer, "retry-after") or None, self._clock.now())
            return Transient(cause, retry_after=wait)
        login = f"log in with nsrun login {endpoint.host}, as somebody who may push"
        return ImageError(cause, hint=login if answer.status in (401, 403) else None)


def header(answer: Answer, name: str) -> str:
    """The first value of a header, empty when there is none."""
    return answer.headers.get(name, ("",))[0]
