"""What happened, with repeats merged as Kubernetes does (client-go tools/record, EventCorrelator). Pure.

A pod that crashes for days says the same again and again; it may have no more than its share, so that the events of the
others are still there. What was not seen for longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from nsrun.model.status import Event, EventSeries

__all__ = ["KEPT", "KEPT_OF_ONE", "EventLog"]

KEPT = 1000
KEPT_OF_ONE = 100
"""Of a pod, or of the node."""

LONGEST = 1024
"""Characters of a message, as the API has it (validation of ``note``): it may quote what a container wrote."""


class EventLog:
    """The last series, each ``Event`` that differs in more than its time being one of its own."""

    def __init__(self, *, kept: int = KEPT, kept_of_one: int = KEPT_OF_ONE) -> None:
        self._kept = kept
        self._kept_of_one = kept_of_one
        self._series: OrderedDict[Event, EventSeries] = OrderedDict()  # by the event without its time; last seen last
        self._of: dict[str, OrderedDict[Event, None]] = {}  # the keys of each pod, by its UID; the same order
        self._number = 0

    def add(self, event: Event) -> EventSeries:
        """The series that the event belongs to, with it."""
        if len(event.message) > LONGEST:
            event = replace(event, message=f"{event.message[: LONGEST - 1]}…")
        key = replace(event, time=0.0)
        known = self._series.get(key)
        if known is None:
            self._number += 1
            series = EventSeries(event=event, number=self._number, last=event.time)
        else:
            series = replace(known, last=event.time, count=known.count + 1)
        self._put(key, series)
        return series

    def all(self) -> tuple[EventSeries, ...]:
        """Every series, the one that was seen last at the end."""
        return tuple(self._series.values())

    def _put(self, key: Event, series: EventSeries) -> None:
        own = self._of.setdefault(key.uid, OrderedDict())
        self._series[key], own[key] = series, None
        self._series.move_to_end(key)
        own.move_to_end(key)
        if len(own) > self._kept_of_one:
            self._drop(next(iter(own)))
        if len(self._series) > self._kept:
            self._drop(next(iter(self._series)))

    def _drop(self, key: Event) -> None:
        del self._series[key]
        own = self._of[key.uid]
        del own[key]
        if not own:
            del self._of[key.uid]
