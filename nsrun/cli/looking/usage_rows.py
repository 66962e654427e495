"""What runs and what it uses, as rows: read from the document that the API gives, sorted, written into cells. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nsrun.cli.documents import Document, at, rows_at, text_at
from nsrun.cli.output import Column
from nsrun.cli.size import size

__all__ = ["SORTS", "UsageRow", "columns", "container_rows", "cores", "mebibytes", "ordered", "pod_rows", "speed"]

_UNKNOWN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """A pod, or one of its containers. ``cpu``: billionths of a core; the flows: bytes each second. ``of_pod``: the
    pod's own numbers, which for the network are the containers' too. None: not known, or no limit."""

    namespace: str
    pod: str
    container: str
    document: Document
    of_pod: Document

    def number(self, name: str) -> int | None:
        """One of the numbers of ``usage_document``."""
        value = at(self.of_pod if name in _OF_POD else self.document, name)
        return int(value) if isinstance(value, int | float) else None

    def flow(self, one: str, other: str) -> int | None:
        """Both directions together."""
        amounts = [amount for amount in (self.number(one), self.number(other)) if amount is not None]
        return sum(amounts) if amounts else None

    @property
    def key(self) -> tuple[str, str, str]:
        """Which of all rows it is."""
        return (self.namespace, self.pod, self.container)

    @property
    def name(self) -> str:
        """``pod``, or ``pod/container``."""
        return f"{self.pod}/{self.container}" if self.container else self.pod


_OF_POD = frozenset({"receivedBytes", "sentBytes", "receivedPerSecond", "sentPerSecond"})

SORTS: Mapping[str, Callable[[UsageRow], object]] = {
    "cpu": lambda row: _most(row.number("cpuNanoCores")),
    "memory": lambda row: _most(row.number("memoryBytes")),
    "network": lambda row: _most(row.flow("receivedPerSecond", "sentPerSecond")),
    "io": lambda row: _most(row.flow("readPerSecond", "writtenPerSecond")),
    "restarts": lambda row: _most(row.number("restarts")),
    "name": lambda row: 0,
}
"""What rows can be sorted by: the highest first, and by name where they are equal."""


def pod_rows(pods: Sequence[Document]) -> list[UsageRow]:
    """One for each pod."""
    return [_row(pod, pod, "") for pod in pods]


def container_rows(pods: Sequence[Document]) -> list[UsageRow]:
    """One for each container."""
    return [
        _row(pod, container, text_at(container, "name")) for pod in pods for container in rows_at(pod, "containers")
    ]


def _row(pod: Document, document: Document, container: str) -> UsageRow:
    return UsageRow(
        namespace=text_at(pod, "metadata", "namespace"),
        pod=text_at(pod, "metadata", "name"),
        container=container,
        document=document,
        of_pod=pod,
    )


def ordered(rows: Sequence[UsageRow], by: str) -> list[UsageRow]:
    """Sorted by one of ``SORTS``."""
    return sorted(sorted(rows, key=lambda row: row.key), key=SORTS[by])  # type: ignore[arg-type]


def _most(value: int | None) -> int:
    return -1 * value if value is not None else 1


def columns(*, containers: bool) -> tuple[Column[UsageRow], ...]:
    """kubectl's (``kubectl top pod [--containers]``), and what else there is to see."""
    about: list[Column[UsageRow]] = [Column(title="NAMESPACE", cell=lambda row: row.namespace)]
    if containers:
        about.append(Column(title="POD", cell=lambda row: row.pod))
    about.append(Column(title="NAME", cell=lambda row: row.container or row.pod))
    return (
        *about,
        Column(title="CPU(cores)", cell=lambda row: cores(row.number("cpuNanoCores"))),
        Column(title="CPU LIMIT", cell=lambda row: cores(row.number("cpuLimitNanoCores")), wide=True),
        Column(title="MEMORY(bytes)", cell=lambda row: mebibytes(row.number("memoryBytes"))),
        Column(title="MEMORY LIMIT", cell=lambda row: mebibytes(row.number("memoryLimitBytes")), wide=True),
        Column(title="NET RX", cell=lambda row: speed(row.number("receivedPerSecond"))),
        Column(title="NET TX", cell=lambda row: speed(row.number("sentPerSecond"))),
        Column(title="IO READ", cell=lambda row: speed(row.number("readPerSecond"))),
        Column(title="IO WRITE", cell=lambda row: speed(row.number("writtenPerSecond"))),
        Column(title="THREADS", cell=lambda row: _plain(row.number("threads")), wide=True),
        Column(title="RESTARTS", cell=lambda row: _plain(row.number("restarts"))),
    )


def cores(nano: int | None) -> str:
    """``12500000`` → ``13m``: thousandths of a core, rounded up as kubectl has it."""
    return _UNKNOWN if nano is None else f"{-(-nano // 1_000_000)}m"


def mebibytes(amount: int | None) -> str:
    """``1048576`` → ``1Mi``."""
    return _UNKNOWN if amount is None else f"{amount >> 20}Mi"


def speed(amount: int | None) -> str:
    """``12000`` → ``12kB/s``."""
    return _UNKNOWN if amount is None else f"{size(amount)}/s"


def _plain(amount: int | None) -> str:
    return _UNKNOWN if amount is None else str(amount)
