"""What is used, for whoever measures: /stats/summary, the four /metrics, /spec/; and for nsrun's own command line."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nsrun.api.access import Access
from nsrun.api.figures.exposition import CONTENT_TYPE, Family, exposition
from nsrun.api.figures.httpcounts import HttpCounts
from nsrun.api.figures.metrics_cadvisor import cadvisor_metrics
from nsrun.api.figures.metrics_kubelet import kubelet_metrics
from nsrun.api.figures.metrics_probes import probe_metrics
from nsrun.api.figures.metrics_resource import resource_metrics
from nsrun.api.figures.process import process_metrics, read_process
from nsrun.api.figures.subjects import subjects
from nsrun.api.figures.summary import summary
from nsrun.api.figures.usage_document import usage_document
from nsrun.api.requests import Request
from nsrun.api.responses import Response, json_response
from nsrun.api.routes import Handler, Route
from nsrun.model.probe import ProbeKind
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.counts import Counts
from nsrun.supervisor.measuring import DiskFigures, Measuring
from nsrun.supervisor.probecounts import ProbeCounts

__all__ = ["MachineFacts", "Measured", "stats_routes"]

_NO_DISK = DiskFigures()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What does not change. ``document``: cAdvisor's MachineInfo. ``cgroup_version``: 1 where v1's controllers are
    used."""

    node_name: str
    document: Mapping[str, object]
    cores: int
    cgroup_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Whom the routes ask."""

    measuring: Measuring
    board: StatusBoard
    counts: Counts
    http: HttpCounts
    probe_counts: Callable[[], Mapping[tuple[str, str, ProbeKind], ProbeCounts]]


def stats_routes(measured: Measured, machine: MachineFacts) -> tuple[Route, ...]:
    """As ``pkg/kubelet/server/server.go`` has them. Documents are written in a thread: with hundreds of pods that takes
    some time."""
    stats = _Stats(measured, machine)
    rows: tuple[tuple[str, str, Access, Handler], ...] = (
        ("GET", "/stats/summary", Access.READ, stats.summary),
        ("POST", "/stats/summary", Access.READ, stats.summary),
        ("GET", "/metrics", Access.READ, stats.kubelet),
        ("GET", "/metrics/cadvisor", Access.READ, stats.cadvisor),
        ("GET", "/metrics/resource", Access.READ, stats.resource),
        ("GET", "/metrics/probes", Access.READ, stats.probes),
        ("GET", "/spec/", Access.READ, stats.spec),
        ("GET", "/nsrun/usage", Access.CONTROL, stats.usage),
    )
    return tuple(Route(method=method, path=path, access=access, handler=made) for method, path, access, made in rows)


class _Written:
    """The last answer, for as long as it is about the same: whoever asks again at once does not have it written again,
    and who asks meanwhile waits for it."""

    def __init__(self) -> None:
        self._writing = asyncio.Lock()
        self._about: tuple[object, ...] = ()
        self._answer: Response | None = None

    async def of(self, *about: object, write: Callable[[], Response]) -> Response:
        """``about``: the values it is made of; the very same ones make the same answer."""
        async with self._writing:
            same = len(about) == len(self._about) and all(map(operator.is_, about, self._about))
            if self._answer is None or not same:
                self._answer = await asyncio.to_thread(write)
                self._about = about
            return self._answer


class _Stats:
    """The handlers."""

    def __init__(self, measured: Measured, machine: MachineFacts) -> None:
        self._of = measured
        self._machine = machine
        self._cadvisor, self._resource, self._usage = _Written(), _Written(), _Written()
        self._summaries = {False: _Written(), True: _Written()}

    async def summary(self, request: Request) -> Response:
        brief = request.first("only_cpu_and_memory") == "true"
        since = await self._of.measuring.since(brief=brief)
        disk = _NO_DISK if brief else await self._of.measuring.disk()
        pods = subjects(self._of.board.pods(), since.now.figures)

        def write() -> Response:
            own = read_process()
            return json_response(
                summary(since, pods, disk, node_name=self._machine.node_name, started=own.started, brief=brief)
            )

        return await self._summaries[brief].of(since.now, disk, write=write)

    async def usage(self, _request: Request) -> Response:
        since = await self._of.measuring.since()
        pods = subjects(self._of.board.pods(), since.now.figures)
        cores = self._machine.cores
        return await self._usage.of(since.now, write=lambda: json_response(usage_document(since, pods, cores=cores)))

    async def resource(self, _request: Request) -> Response:
        look = await self._of.measuring.look(brief=True)
        pods = subjects(self._of.board.pods(), look.figures)
        return await self._resource.of(look, write=lambda: _exposed(resource_metrics(look, pods)))

    async def cadvisor(self, _request: Request) -> Response:
        look, disk = await self._of.measuring.look(), await self._of.measuring.disk()
        pods, machine = subjects(self._of.board.pods(), look.figures), self._machine.document
        return await self._cadvisor.of(
            look, disk, write=lambda: _exposed(cadvisor_metrics(look, pods, disk, machine=machine))
        )

    async def probes(self, _request: Request) -> Response:
        counts, pods = self._of.probe_counts(), [pod for pod, _ in self._of.board.pods()]
        return await asyncio.to_thread(lambda: _exposed(probe_metrics(counts, pods, started=read_process().started)))

    async def kubelet(self, _request: Request) -> Response:
        own = await asyncio.to_thread(read_process)
        families = kubelet_metrics(
            self._of.counts,
            self._of.http,
            self._of.board.pods(),
            node_name=self._machine.node_name,
            cgroup_version=self._machine.cgroup_version,
        )
        return _exposed((*families, *process_metrics(own)))

    async def spec(self, _request: Request) -> Response:
        return json_response(self._machine.document)


def _exposed(families: Iterable[Family]) -> Response:
    return Response(status=200, content_type=CONTENT_TYPE, body=exposition(families))
