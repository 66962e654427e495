"""What handlers return: values. Only the server writes to a connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from nsrun.api.connections import Upgrade, WebSocketUpgrade

__all__ = ["Answer", "Response", "Streamed", "forbidden", "json_response", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer. ``headers``: besides the type and the length of the body."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """An answer whose length nobody knows: each chunk is sent as it comes. The iterator is closed when the reader goes
    away."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]


Answer = Response | Streamed | Upgrade | WebSocketUpgrade


def text(body: str, *, status: int = 200) -> Response:
    """Plain text."""
    return Response(status=status, content_type="text/plain; charset=utf-8", body=body.encode())


def json_response(document: object, *, status: int = 200) -> Response:
    """A JSON document."""
    return Response(
        status=status, content_type="application/json", body=json.dumps(document, separators=(",", ":")).encode()
    )


def forbidden(why: str) -> Response:
    """403."""
    return text(f"Forbidden: {why}\n", status=403)
