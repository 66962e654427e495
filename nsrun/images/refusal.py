"""How registries say no, in our words (distribution-spec, "Error Codes"). Pure."""

from __future__ import annotations

import http
import json

from nsrun.images.wording import printable

__all__ = ["said", "shown_status"]


def said(body: bytes) -> str:
    """`` (manifest unknown)``: what the body of an error says, as far as it can be read."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    errors = document.get("errors") if isinstance(document, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    text = (first.get("message") or first.get("code")) if isinstance(first, dict) else None
    return f" ({printable(text, 200)})" if isinstance(text, str) and text else ""


def shown_status(status: int) -> str:
    """``404`` → ``404 Not Found``."""
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
