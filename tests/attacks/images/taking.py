"""A registry that takes what is pushed, honestly until it is told otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from tests.attacks.images.lying import Asked, LyingRegistry

__all__ = ["Lie", "TakingRegistry"]

Lie = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Answers in place of the registry, or with None lets it answer."""


class TakingRegistry(LyingRegistry):
    """``uploads``: those under way; ``taken``: blobs and manifests by digest or tag. ``lie`` hears everything first.

    ``cut``: after so many bytes of the next PATCH the connection breaks, and what came is kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.uploads: dict[str, bytearray] = {}
        self.taken: dict[str, bytes] = {}
        self.lie: Lie | None = None
        self.cut: int | None = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(Asked(method=request.method, path=request.path_qs, headers=dict(request.headers)))
        if self.lie is not None and (answer := await self.lie(request)) is not None:
            return answer
        if self.guard is not None:
            refusal = await self.guard(request)
            if refusal.status != 200:
                return refusal
        parts = request.path.removeprefix("/v2/").split("/")
        if parts == [""]:
            return web.Response()
        kind, last = parts[-2], parts[-1]
        if (kind == "blobs" and last == "uploads") or (kind == "uploads" and last == ""):
            return self.begin(request)
        if kind == "uploads":
            return await self._continue(request, last)
        if request.method == "PUT":
            data = await request.read()
            self.taken[last] = data
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            return web.Response(status=201, headers={"Docker-Content-Digest": digest})
        return web.Response(status=200 if last in self.taken else 404)

    def begin(self, request: web.Request, base: str = "") -> web.Response:
        """A new upload, which goes on at ``base``."""
        mount = request.query.get("mount")
        if mount is not None and mount in self.taken:
            return web.Response(status=201)
        name = f"u{len(self.uploads)}"
        self.uploads[name] = bytearray()
        return web.Response(status=202, headers={"Location": f"{base}/v2/x/blobs/uploads/{name}?state=a%2Fb"})

    async def _continue(self, request: web.Request, name: str) -> web.StreamResponse:
        if name not in self.uploads:
            return web.Response(status=404)
        data = self.uploads[name]
        if request.method == "GET":
            return web.Response(status=204, headers=self._where(name))
        begin = request.headers.get("Content-Range", f"{len(data)}-").partition("-")[0]
        if int(begin) != len(data):
            return web.Response(status=416, headers=self._where(name))
        while piece := await request.content.readany():
            data += piece
            if self.cut is not None and len(data) >= self.cut:
                self.cut = None
                assert request.transport is not None
                request.transport.close()
                return web.Response(status=500)
        if request.method == "PATCH":
            return web.Response(status=202, headers=self._where(name))
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if digest != request.query["digest"]:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID", "message": "not that"}]}, status=400)
        self.taken[digest] = bytes(self.uploads.pop(name))
        return web.Response(status=201)

    def _where(self, name: str) -> dict[str, str]:
        end = max(len(self.uploads[name]) - 1, 0)
        return {"Location": f"/v2/x/blobs/uploads/{name}?state=a%2Fb", "Range": f"0-{end}"}
