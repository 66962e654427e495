"""How often the log tells what happens again and again. Pure.

A probe that fails every second would bury everything else. So a warning that was told is told again when as much time
has passed as since it was told first, but at most after five minutes; with how often it happened, as kubectl has it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from nsrun.model.status import Event, EventType

__all__ = ["Repetitions"]

_SOONEST, _LATEST = 10.0, 300.0
_KEPT = 1000


@dataclass(slots=True)
class _Told:
    """``first``, ``told`` (last): seconds since the epoch."""

    first: float
    told: float
    count: int = 1


class Repetitions:
    """Remembers the last thousand warnings that differ."""

    def __init__(self) -> None:
        self._told: OrderedDict[Event, _Told] = OrderedDict()

    def remark(self, event: Event) -> str | None:
        """What to add to the event's line: nothing the first time, ``(x8 over 12s)`` later; None: no line now."""
        if event.type is not EventType.WARNING:
            return ""
        key = replace(event, time=0.0)
        told = self._told.get(key)
        if told is None or event.time < told.told:  # the clock was set back
            self._told[key] = _Told(first=event.time, told=event.time)
            if len(self._told) > _KEPT:
                self._told.popitem(last=False)
            return ""
        self._told.move_to_end(key)
        told.count += 1
        wait = min(max(told.told - told.first, _SOONEST), _LATEST)
        if event.time - told.told < wait:
            return None
        told.told = event.time
        return f"(x{told.count} over {event.time - told.first:.0f}s)"

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._told if key.uid == uid]:
            del self._told[key]
