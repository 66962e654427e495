"""Prometheus' text format, written (prometheus.io: Exposition formats, version 0.0.4). Pure.

A library that collects, locks and registers would be more than is needed for values that are here already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from nsrun.supervisor.counts import Histogram

__all__ = ["CONTENT_TYPE", "Family", "Kind", "Sample", "counter", "exposition", "gauge", "histogram", "labels"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Kind(StrEnum):
    """What a family's values mean."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Sample:
    """``labels`` as ``labels`` writes them, the same text for all samples of one subject. ``time``: of the value, in
    seconds since the epoch, None for that of the scrape."""

    value: float
    labels: str = ""
    time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric. ``lines`` are written as they are; of a histogram they carry the ``_bucket``, ``_sum`` and ``_count``
    of its name."""

    name: str
    kind: Kind
    help: str
    lines: tuple[str, ...]


def labels(**pairs: str) -> str:
    """``pod="web",namespace="default"``. A label without a value is no label at all: it is left out."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items() if value)


def counter(name: str, help: str, samples: Iterable[Sample]) -> Family:
    """Values that only grow."""
    return Family(name=name, kind=Kind.COUNTER, help=help, lines=tuple(_line(name, sample) for sample in samples))


def gauge(name: str, help: str, samples: Iterable[Sample]) -> Family:
    """Values that come and go."""
    return Family(name=name, kind=Kind.GAUGE, help=help, lines=tuple(_line(name, sample) for sample in samples))


def histogram(name: str, help: str, rows: Iterable[tuple[str, Histogram]]) -> Family:
    """``rows``: labels and what was observed under them."""
    lines = (line for written, seen in rows for line in _histogram(name, written, seen))
    return Family(name=name, kind=Kind.HISTOGRAM, help=help, lines=tuple(lines))


def exposition(families: Iterable[Family]) -> bytes:
    """Families without any sample are left out, as a kubelet leaves out those that nothing was counted for yet. They
    are taken one by one: of hundreds of pods they are ten megabytes together."""
    text = bytearray()
    for family in families:
        if family.lines:
            text += f"# HELP {family.name} {_help(family.help)}\n# TYPE {family.name} {family.kind}\n".encode()
            text += "".join(family.lines).encode()
    return bytes(text)


def _line(name: str, sample: Sample) -> str:
    subject = f"{name}{{{sample.labels}}}" if sample.labels else name
    value = _number(sample.value)
    return f"{subject} {value}\n" if sample.time is None else f"{subject} {value} {round(sample.time * 1000)}\n"


def _histogram(name: str, written: str, seen: Histogram) -> Iterator[str]:
    bounds = [*(_number(float(bound)) for bound in seen.bounds), "+Inf"]
    sums = accumulate(seen.buckets or (0,) * len(bounds))
    for bound, count in zip(bounds, sums, strict=True):
        yield _line(f"{name}_bucket", Sample(count, f'{written},le="{bound}"' if written else f'le="{bound}"'))
    yield _line(f"{name}_sum", Sample(seen.sum, written))
    yield _line(f"{name}_count", Sample(seen.count, written))


def _number(value: float) -> str:
    """Go's and Python's shortest texts of a number differ only in what no parser minds."""
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1 << 53 else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
