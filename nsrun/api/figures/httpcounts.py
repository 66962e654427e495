"""How often the API was asked, for what, and how long that took. Pure but for the time it is told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from nsrun.api.figures.exposition import labels
from nsrun.supervisor.counts import DEFAULT_BOUNDS, Histogram

__all__ = ["HttpCounts", "subject"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What there is, so that whoever asks for nonsense makes no new series. Of metrics and stats the second part counts too.
_PATHS = frozenset(
    {
        *("attach", "checkpoint", "configz", "containerLogs", "exec", "healthz", "logs", "openapi", "pods"),
        *("portForward", "run", "runningpods", "spec", "metrics", "metrics/cadvisor", "metrics/probes"),
        *("metrics/resource", "stats/summary", "nsrun"),
    }
)
_LONG = frozenset({"exec", "attach", "portForward"})


def subject(method: str, path: str, *, read_only: bool) -> str:
    """The labels of a request, as the kubelet writes them (pkg/kubelet/server/server.go): the beginning of its path,
    ``other`` for one that nothing is at."""
    parts = path.partition("?")[0].strip("/").split("/")
    found = next((known for known in ("/".join(parts[:2]), parts[0]) if known in _PATHS), "other")
    return labels(
        long_running=str(found in _LONG).lower(),
        method=method if method in _METHODS else "OTHER",
        path=found,
        server_type="readonly" if read_only else "readwrite",
    )


class HttpCounts:
    """Belongs to one event loop. ``durations`` and ``in_flight`` by labels; a duration is observed when all of an
    answer was sent."""

    def __init__(self) -> None:
        self.durations: dict[str, Histogram] = {}
        self.begun: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()

    @contextmanager
    def serving(self, method: str, path: str, *, read_only: bool) -> Iterator[None]:
        """Around everything that is done for one request."""
        about, began = subject(method, path, read_only=read_only), time.monotonic()
        self.begun[about] += 1
        self.in_flight[about] += 1
        try:
            yield
        finally:
            self.in_flight[about] -= 1
            known = self.durations.get(about, Histogram(bounds=DEFAULT_BOUNDS))
            self.durations[about] = known.observed(time.monotonic() - began)
