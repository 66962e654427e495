"""When to try again, and after how long. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from nsrun.errors import ImageError

__all__ = ["RETRIED_STATUSES", "Backoff", "BrokenOff", "Transient", "seconds_of_retry_after"]

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Transient(Exception):
    """Something that may be over soon. ``cause`` is a clause for the user, ``retry_after`` the server's wish in
    seconds."""

    def __init__(self, cause: str, *, retry_after: float | None = None, hint: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.retry_after = retry_after
        self.hint = hint


class BrokenOff(ImageError):
    """Something transient that did not pass. What came before it is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """``attempts`` in all. Before the nth retry: ``base * 2**n``, at most ``cap`` seconds, half of it at random; or
    what the server asked for, unless that is longer than ``patience``. Eight attempts outlast a network that is away
    for ten seconds."""

    attempts: int = 5
    base: float = 0.5
    cap: float = 10.0
    patience: float = 60.0

    def pause(self, attempt: int, retry_after: float | None, random: Callable[[], float]) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 0), None to give up. ``random``: 0 ≤ x < 1."""
        if attempt + 1 >= self.attempts:
            return None
        # The jitter keeps machines that failed together from coming back together.
        wait = min(self.cap, self.base * (1 << attempt)) * (1 + random()) / 2
        if retry_after is None:
            return wait
        return None if retry_after > self.patience else max(wait, retry_after)


def seconds_of_retry_after(text: str | None, now: float) -> float | None:
    """A Retry-After header, of either form, as seconds from ``now`` (since the epoch); None when it says nothing."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)
