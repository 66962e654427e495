"""A registry that is honest until it is told to lie, and writes down all it is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from nsrun.support.clock import SystemClock
from tests.layouts import ImageParts

__all__ = ["Asked", "Handler", "HurriedClock", "LyingRegistry"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]


class HurriedClock(SystemClock):
    """Waits for nothing, and remembers how long it should have."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


class LyingRegistry:
    """One server on loopback. ``lies`` maps a path below /v2/ (or a whole path) to a handler that answers instead."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.lies: dict[str, Handler] = {}
        self.guard: Handler | None = None
        self._truth: dict[str, tuple[bytes, str, str]] = {}
        self._runner: web.AppRunner | None = None
        self.host = ""

    async def start(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)  # some answers never end
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self.host

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def serve(self, repository: str, tag: str, parts: ImageParts) -> None:
        """Tells the truth about an image."""
        for name in (tag, parts.manifest.digest):
            self.serve_document(f"{repository}/manifests/{name}", parts.manifest.data, parts.manifest.media_type)
        for blob in parts.blobs:
            self._truth[f"{repository}/blobs/{blob.digest}"] = (blob.data, "application/octet-stream", blob.digest)

    def serve_document(self, path: str, data: bytes, media_type: str, digest: str = "") -> None:
        self._truth[path] = (data, media_type, digest)

    def is_beginning(self, data: bytes) -> bool:
        """Whether some blob begins with these bytes."""
        return any(truth.startswith(data) for truth, _, _ in self._truth.values())

    def requests(self, part: str) -> list[Asked]:
        return [asked for asked in self.asked if part in asked.path]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(Asked(method=request.method, path=request.path_qs, headers=dict(request.headers)))
        path = request.path.removeprefix("/v2/")
        lie = self.lies.get(path) or self.lies.get(request.path)
        if lie is not None:
            return await lie(request)
        if self.guard is not None:
            refusal = await self.guard(request)
            if refusal.status != 200:
                return refusal
        if path == "":
            return web.Response()
        if path not in self._truth:
            return web.json_response({"errors": [{"code": "NOT_FOUND", "message": "not here"}]}, status=404)
        data, media_type, digest = self._truth[path]
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers = {"Content-Type": media_type, **({"Docker-Content-Digest": digest} if digest else {})}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        return web.Response(body=data[begin:], headers=headers, status=206 if begin else 200)
