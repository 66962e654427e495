"""One blob on its way into a registry (distribution-spec, "Pushing Blobs").

    HEAD blob ──▶ there
        │
        └──▶ POST uploads?mount=…&from=… ──▶ mounted: it was in another repository of the registry
                  │
                  └──▶ (PATCH the rest ──▶) PUT ?digest=… ──▶ there

A small blob goes with the PUT. A large one goes by PATCH; when that breaks, the registry is asked how far it got, and
the rest follows. A registry that has forgotten the upload is given a new one, which begins by looking whether the blob
is there after all: it may be that only the last answer was lost.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlencode

from nsrun.errors import ImageError, describe_errno
from nsrun.images.auth import repository_scope
from nsrun.images.documents import Descriptor
from nsrun.images.exchange import Answer, Request
from nsrun.images.pushclient import PushClient, header
from nsrun.images.registries import Endpoint
from nsrun.images.retry import Transient
from nsrun.support.fds import Fd

__all__ = ["Outcome", "Upload", "push_scope"]

SMALL = 4 << 20
_CHUNK = 256 << 10
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})", re.ASCII)
_OCTETS = {"Content-Type": "application/octet-stream"}


class Outcome(StrEnum):
    """How a blob got there."""

    PRESENT = "present"
    MOUNTED = "mounted"
    UPLOADED = "uploaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The bytes of a file from ``start`` on, as the body of a request: they can be had again. ``told``: bytes sent."""

    path: Path
    start: int
    size: int
    told: Callable[[int], object]

    def __iter__(self) -> Iterator[bytes]:
        """Raises ImageError: an OSError would be the network's."""
        try:
            with Fd.open(self.path, os.O_RDONLY | os.O_NOFOLLOW) as file:
                at = self.start
                while at < self.start + self.size:
                    piece = os.pread(file.fileno(), min(_CHUNK, self.start + self.size - at), at)
                    if not piece:
                        raise ImageError(f'"{self.path}" is shorter than it should be')
                    yield piece
                    at += len(piece)
                    self.told(at)
        except OSError as error:
            raise ImageError(f'"{self.path}" cannot be read: {describe_errno(error.errno or errno.EIO)}') from None


class Upload:
    """One blob for one repository. ``sent``: bytes that the registry has, as far as it told us.

    ``_location``: where the upload under way is continued, empty when there is none. ``_resumed``: it broke off once.
    """

    def __init__(
        self,
        client: PushClient,
        endpoint: Endpoint,
        blob: Descriptor,
        path: Path,
        *,
        origin: str | None,
        told: Callable[[int], object],
    ) -> None:
        """``origin``: another repository of the registry that has the blob. ``told``: hears in a thread how many
        bytes were sent."""
        self._client = client
        self._endpoint = endpoint
        self._blob = blob
        self._path = path
        self._origin = origin
        self._told = told
        self._location = ""
        self._resumed = False
        self.sent = 0

    async def run(self) -> Outcome:
        """Raises ImageError."""
        return await self._client.persistently(self._attempt, lambda: self.sent)

    async def _attempt(self) -> Outcome:
        if self._location:
            await self._find_out()
        if not self._location:
            if await self._is_there():
                return Outcome.PRESENT
            if await self._begin():
                return Outcome.MOUNTED
        if self._blob.size > SMALL and self.sent < self._blob.size:
            await self._send_rest()
        await self._finish()
        return Outcome.UPLOADED

    async def _is_there(self) -> bool:
        answer = await self._ask(Request(method="HEAD", url=self._url(f"blobs/{self._blob.digest}")))
        if answer.status == 200:
            return True
        if answer.status == 404:
            return False
        raise self._client.refusal(answer, self._endpoint)

    async def _begin(self) -> bool:
        """Begins an upload, or has the registry take the blob out of another repository: then True."""
        if self._origin is not None:
            origin, self._origin = self._origin, None  # tried once
            query = urlencode({"mount": self._blob.digest, "from": origin})
            scope = f"{self._scope} {repository_scope(origin)}"
            try:
                answer = await self._ask(Request(method="POST", url=self._url(f"blobs/uploads/?{query}")), scope=scope)
            except ImageError:
                answer = Answer(status=403)
            if answer.status == 201:
                return True
            if answer.status == 202:
                self._continue_at(answer)
                return False
        answer = await self._ask(Request(method="POST", url=self._url("blobs/uploads/")))
        self._expect(answer, 202)
        self._continue_at(answer)
        return False

    async def _find_out(self) -> None:
        """How far the registry got with an upload that broke off."""
        answer = await self._ask(Request(method="GET", url=self._location))
        reached = _RANGE.fullmatch(header(answer, "range"))
        if answer.status != 204 or reached is None:
            self._forget()
            return
        # "0-0" is said for one byte, and by most registries for none: if it was one, 416 tells.
        self.sent = int(reached[1]) + 1 if int(reached[1]) else 0
        self._resumed = True
        if self.sent > self._blob.size:
            self._forget()
            return
        self._continue_at(answer)

    async def _send_rest(self) -> None:
        size = self._blob.size - self.sent
        headers = {**_OCTETS, "Content-Length": str(size)}
        if self._resumed:
            headers["Content-Range"] = f"{self.sent}-{self._blob.size - 1}"
        part = _Part(path=self._path, start=self.sent, size=size, told=self._told)
        request = Request(method="PATCH", url=self._location, headers=headers, body=part)
        answer = await self._ask(request, size=size)
        self._expect(answer, 202, 204)
        self.sent = self._blob.size
        self._continue_at(answer)

    async def _finish(self) -> None:
        """Tells the registry the digest, and a small blob with it."""
        mark = "&" if "?" in self._location else "?"
        url = f"{self._location}{mark}{urlencode({'digest': self._blob.digest})}"
        size = self._blob.size - self.sent
        part = _Part(path=self._path, start=self.sent, size=size, told=self._told)
        headers = {**_OCTETS, "Content-Length": str(size)}
        answer = await self._ask(Request(method="PUT", url=url, headers=headers, body=part), size=size)
        self._expect(answer, 201, 204)
        self._told(self._blob.size)

    def _continue_at(self, answer: Answer) -> None:
        location = header(answer, "location")
        if not location:
            raise ImageError(f'registry "{self._endpoint.host}" does not say where the upload goes on')
        self._location = location

    def _forget(self) -> None:
        self._location, self.sent, self._resumed = "", 0, False

    def _expect(self, answer: Answer, *statuses: int) -> None:
        """Raises ImageError; Transient also when the registry knows the upload no more, or of another part of it."""
        if answer.status in statuses:
            return
        if self._location and answer.status in (404, 416):
            self._forget()
            raise Transient(f'registry "{self._endpoint.host}" has lost the upload of {self._blob.digest}')
        raise self._client.refusal(answer, self._endpoint)

    async def _ask(self, request: Request, *, scope: str = "", size: int = 0) -> Answer:
        return await self._client.answer(request, self._endpoint, scope=scope or self._scope, size=size)

    @property
    def _scope(self) -> str:
        return push_scope(self._endpoint)

    def _url(self, rest: str) -> str:
        return f"/v2/{self._endpoint.repository}/{rest}"


def push_scope(endpoint: Endpoint) -> str:
    """What we ask a token for."""
    return repository_scope(endpoint.repository, "pull,push")
