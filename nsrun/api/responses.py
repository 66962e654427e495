"""What handlers return: values. Only the server writes to a connection."""

from __future__ import annotations

import json
from dataclasses import dataclass

__all__ = ["Response", "forbidden", "json_response", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer."""

    status: int
    content_type: str
    body: bytes


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
