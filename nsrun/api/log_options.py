"""What of a container's log is wanted: ``v1.PodLogOptions`` in a query (``pkg/kubelet/server/server.go``,
``getContainerLogs``; ``pkg/apis/core/validation``, ``ValidatePodLogOptions``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nsrun.api.places import Refused
from nsrun.api.responses import text
from nsrun.support.clock import from_rfc3339

__all__ = ["LogOptions", "log_options"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """``tail``: how many records from the end, None for all. ``limit``: bytes of text, None for all. ``since``: seconds
    since the epoch. ``streams``: names of those that are wanted."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    limit: int | None = None
    since: float | None = None
    streams: frozenset[str] = frozenset({"stdout", "stderr"})


_STREAMS = {
    "": LogOptions().streams,
    "All": LogOptions().streams,
    "Stdout": frozenset({"stdout"}),
    "Stderr": frozenset({"stderr"}),
}


def log_options(query: Mapping[str, tuple[str, ...]], *, now: float) -> LogOptions:
    """``now``: seconds since the epoch, which ``sinceSeconds`` counts back from. Raises Refused: 400 for what cannot be
    read, 422 for what makes no sense."""
    given = {name: values[0] for name, values in query.items() if values}
    legacy = given.get("tail")
    if legacy is not None:
        given.pop("tailLines", None)
        if legacy != "all":
            given["tailLines"] = legacy
    tail, limit, seconds = (_integer(given, name) for name in ("tailLines", "limitBytes", "sinceSeconds"))
    since = _time(given.get("sinceTime", ""))
    streams = _STREAMS.get(given.get("stream", ""))
    sensible = (
        (tail is None or tail >= 0)
        and (limit is None or limit >= 1)
        and (seconds is None or seconds >= 1)
        and (since is None or seconds is None)
        and streams is not None
        and (tail is None or len(streams) == 2)
    )
    if not sensible or streams is None:
        raise Refused(text('{"message": "Invalid request."}', status=422))
    return LogOptions(
        follow=_flag(given, "follow"),
        previous=_flag(given, "previous"),
        timestamps=_flag(given, "timestamps"),
        tail=tail,
        limit=limit,
        since=now - seconds if seconds is not None else since,
        streams=streams,
    )


def _flag(given: Mapping[str, str], name: str) -> bool:
    """Whatever is not "false" or "0" is true (``apimachinery/pkg/runtime/conversion.go``)."""
    return name in given and given[name].lower() not in ("false", "0")


def _integer(given: Mapping[str, str], name: str) -> int | None:
    value = given.get(name, "")
    if not value:
        return None
    if _INTEGER.fullmatch(value) is None:
        raise _undecodable()
    return int(value)


def _time(value: str) -> float | None:
    if not value:
        return None
    try:
        if "T" not in value or (value[-6] not in "+-" and not value.endswith("Z")):
            raise _undecodable()
        return from_rfc3339(value)
    except (ValueError, OverflowError, IndexError):
        raise _undecodable() from None


def _undecodable() -> Refused:
    return Refused(text('{"message": "Unable to decode query."}', status=400))
