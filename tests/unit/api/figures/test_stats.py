"""What is told of an imagined machine: two containers of half a core and 4 MiB each, in one pod."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from nsrun.api.access import Access
from nsrun.api.figures.exposition import exposition
from nsrun.api.figures.httpcounts import HttpCounts, subject
from nsrun.api.figures.metrics_cadvisor import cadvisor_metrics
from nsrun.api.figures.metrics_resource import resource_metrics
from nsrun.api.figures.process import read_process
from nsrun.api.figures.stats_routes import MachineFacts, Measured, stats_routes
from nsrun.api.figures.subjects import subjects
from nsrun.api.figures.summary import summary
from nsrun.api.requests import Request
from nsrun.api.responses import Response
from nsrun.api.routes import Route
from nsrun.model.figures import NetworkFigures, Pressure, Usage, Waiting
from nsrun.model.probe import HttpGet, Probe
from nsrun.model.resources import Quantity, ResourceRequirements
from nsrun.supervisor.measuring import DiskFigures, Look, Measuring, Since
from nsrun.supervisor.ports import CheckResult
from tests.contracts.fakefigures import CORES, MIB
from tests.contracts.fakes import FakeImages, FakeNetwork, FakeRuntime, FakeVolumes
from tests.unit.supervisor.world import Daemon, World, container, pod

LIMITS = ResourceRequirements(
    requests={"cpu": Quantity(milli=250, text="250m")},
    limits={"cpu": Quantity(milli=500, text="500m"), "memory": Quantity(milli=64 * MIB * 1000, text="64Mi")},
)
READY = Probe(action=HttpGet(port=80), period_seconds=1)
WEB = pod(
    "web",
    container("main", resources=LIMITS, readiness_probe=READY),
    container("side"),
    init=[container("setup", "exit 0")],
    volumes=["data"],
    labels={"app": "web"},
)
MACHINE: dict[str, Any] = {
    "num_cores": 4,
    "num_physical_cores": 2,
    "num_sockets": 1,
    "memory_capacity": 2048 * MIB,
    "swap_capacity": 0,
    "machine_id": "m",
    "system_uuid": "",
    "boot_id": "b",
    "disk_map": {"8:0": {"name": "sda"}},
}
Samples = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(kw_only=True)
class Api:
    """The routes, and time."""

    world: World
    daemon: Daemon
    routes: Mapping[tuple[str, str], Route]
    http: HttpCounts

    async def get(self, path: str, *, method: str = "GET", **query: str) -> Response:
        request = Request(method=method, path=path, query={name: (value,) for name, value in query.items()})
        task = asyncio.ensure_future(self.routes[method, path].handler(request))
        while not task.done():
            await asyncio.wait((task,), timeout=0.05)
            await self.world.clock.advance(0.5)
        answer = await task
        assert isinstance(answer, Response)
        assert answer.status == 200
        return answer

    async def document(self, path: str, **query: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await self.get(path, **query)).body)
        return found

    async def metrics(self, path: str) -> Samples:
        answer = await self.get(path)
        assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
        return samples(answer.body)


def samples(text: bytes) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def of(found: Samples, name: str, **labels: str) -> float:
    """The one value with these labels among others."""
    (value,) = [value for own, value in found[name] if labels.items() <= own.items()]
    return value


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    world = World()
    world.machine.answers[80] = CheckResult(success=True)
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        life = daemon.life
        measuring = Measuring(
            runtime=FakeRuntime(world.machine, life),
            network=FakeNetwork(world.machine, life),
            images=FakeImages(world.machine, life),
            volumes=FakeVolumes(world.machine, life),
            board=daemon.board,
            clock=world.clock,
        )
        world.machine.written[WEB.uid] = {"main": 3 * MIB, "data": MIB}
        task = asyncio.create_task(measuring.run())
        await measuring.disk()
        await world.clock.advance(1)
        http = HttpCounts()
        measured = Measured(
            measuring=measuring,
            board=daemon.board,
            counts=daemon.counts,
            http=http,
            probe_counts=daemon.supervisor.probe_counts,
        )
        machine = MachineFacts(node_name="node", document=MACHINE, cores=4, cgroup_version=2)
        routes = stats_routes(measured, machine)
        yield Api(world=world, daemon=daemon, http=http, routes={(route.method, route.path): route for route in routes})
        task.cancel()


def test_who_may_read_what() -> None:
    access = {
        route.path: route.access
        for route in stats_routes(None, None)  # type: ignore[arg-type]
    }
    assert access.pop("/nsrun/usage") is Access.CONTROL
    assert set(access.values()) == {Access.READ}


# --- /stats/summary


async def test_the_summary_of_a_container(api: Api) -> None:
    (seen,) = (await api.document("/stats/summary"))["pods"]
    assert seen["podRef"] == {"name": "web", "namespace": "default", "uid": "uid-web"}
    main, side = seen["containers"]
    assert (main["name"], side["name"]) == ("main", "side"), "what has ended is not told"
    assert main["cpu"]["usageNanoCores"] == pytest.approx(CORES * 1e9, rel=0.01)
    assert main["cpu"]["usageCoreNanoSeconds"] >= 5e9
    working_set = 4 * MIB - 4 * MIB // 10
    assert main["memory"] == {
        "time": main["memory"]["time"],
        "availableBytes": 64 * MIB - working_set,
        "usageBytes": 4 * MIB,
        "workingSetBytes": working_set,
        "rssBytes": 2 * MIB,
        "pageFaults": 7,
        "majorPageFaults": 0,
    }
    assert "availableBytes" not in side["memory"], "it has no limit"
    assert (main["rootfs"]["usedBytes"], main["rootfs"]["inodesUsed"]) == (3 * MIB, 1)
    assert main["rootfs"]["capacityBytes"] == 1024 * MIB
    assert main["logs"]["usedBytes"] == 0


async def test_the_summary_of_a_pod(api: Api) -> None:
    (seen,) = (await api.document("/stats/summary"))["pods"]
    assert seen["cpu"]["usageNanoCores"] == pytest.approx(2 * CORES * 1e9, rel=0.01)
    assert seen["memory"]["usageBytes"] == 9 * MIB
    assert seen["network"]["name"] == "eth0"
    assert seen["network"]["interfaces"][0]["txBytes"] == seen["network"]["txBytes"] > 0
    assert [(volume["name"], volume["usedBytes"]) for volume in seen["volume"]] == [("data", MIB)]
    assert seen["ephemeral-storage"]["usedBytes"] == 4 * MIB
    assert seen["process_stats"] == {"process_count": 3}


async def test_the_summary_of_the_node(api: Api) -> None:
    node = (await api.document("/stats/summary"))["node"]
    assert node["nodeName"] == "node"
    assert node["cpu"]["usageNanoCores"] == pytest.approx(1.5e9, rel=0.01)
    assert node["memory"]["availableBytes"] == 2048 * MIB - node["memory"]["workingSetBytes"]
    assert [part["name"] for part in node["systemContainers"]] == ["kubelet", "pods"]
    assert (node["fs"]["usedBytes"], node["fs"]["inodesFree"]) == (100 * MIB, 900)
    assert node["runtime"]["imageFs"]["capacityBytes"] == 1024 * MIB
    assert node["rlimit"]["maxpid"] == 32768
    assert node["network"]["interfaces"][0]["name"] == "eth0"


async def test_only_processor_and_memory(api: Api) -> None:
    document = await api.document("/stats/summary", only_cpu_and_memory="true")
    assert set(document["node"]) == {"nodeName", "systemContainers", "startTime", "cpu", "memory"}
    (seen,) = document["pods"]
    assert set(seen) == {"podRef", "startTime", "containers", "cpu", "memory"}
    assert set(seen["containers"][0]) == {"name", "startTime", "cpu", "memory"}


async def test_the_summary_can_be_posted_for(api: Api) -> None:
    assert json.loads((await api.get("/stats/summary", method="POST")).body)["node"]


async def test_pressure_is_told_where_it_is_known(api: Api) -> None:
    share = Waiting(avg10=1.5, avg60=0.5, avg300=0.25, total=2_000_000)
    pressure = Pressure(some=share, full=replace(share, total=1_000_000))
    figures = await FakeRuntime(api.world.machine, api.daemon.life).figures()
    seen = figures.pods[WEB.uid]
    strained: Usage = replace(seen.usage, cpu_pressure=pressure, memory_pressure=pressure, io_pressure=pressure)
    pods = subjects(api.daemon.board.pods(), replace(figures, pods={WEB.uid: replace(seen, usage=strained)}))

    look = Look(figures=replace(figures, pods={WEB.uid: pods[0].figures}), network=NetworkFigures(time=0.0))
    document: Any = summary(Since(now=look, before=look), pods, DiskFigures(), node_name="n", started=0.0, brief=False)
    psi = document["pods"][0]["cpu"]["psi"]
    assert psi["some"] == {"total": 2_000_000, "avg10": 1.5, "avg60": 0.5, "avg300": 0.25}
    assert psi["full"]["total"] == 1_000_000
    assert document["pods"][0]["io"]["psi"] == psi
    assert "network" not in document["pods"][0]
    assert "fs" not in document["node"]
    found = samples(exposition(cadvisor_metrics(look, pods, DiskFigures(), machine={})))
    assert of(found, "container_pressure_io_waiting_seconds_total") == 2.0
    assert of(found, "container_pressure_memory_stalled_seconds_total") == 1.0


# --- metrics


async def test_resource_metrics(api: Api) -> None:
    found = await api.metrics("/metrics/resource")
    about = {"container": "main", "pod": "web", "namespace": "default"}
    assert of(found, "container_cpu_usage_seconds_total", **about) >= 5
    assert of(found, "container_memory_working_set_bytes", **about) == 4 * MIB - 4 * MIB // 10
    assert of(found, "container_start_time_seconds", **about) > 1_600_000_000
    assert of(found, "container_swap_limit_bytes", **about) == 0
    assert of(found, "pod_cpu_usage_seconds_total", pod="web") >= 10
    assert of(found, "node_memory_working_set_bytes") > 0
    assert of(found, "resource_scrape_error") == of(found, "scrape_error") == 0


async def test_cadvisor_metrics(api: Api) -> None:
    found = await api.metrics("/metrics/cadvisor")
    main = {"container": "main", "pod": "web", "namespace": "default"}
    usage = [labels for labels, _ in found["container_cpu_usage_seconds_total"]]
    assert [labels.get("container", "") for labels in usage] == ["", "", "main", "side"]
    assert [labels["id"] for labels in usage] == [
        "/",
        "/nsrun/poduid-web",
        "/nsrun/poduid-web/main-0",
        "/nsrun/poduid-web/side-0",
    ]
    assert usage[2]["image"]
    assert len(usage[2]["name"]) == 64
    assert usage[2]["cpu"] == "total"
    assert of(found, "container_memory_rss", **main) == 2 * MIB
    assert of(found, "container_fs_writes_bytes_total", device="/dev/sda", **main) > 0
    assert of(found, "container_blkio_device_usage_total", operation="Read", major="8", minor="0", **main) > 0
    assert of(found, "container_fs_usage_bytes", **main) == 3 * MIB
    assert of(found, "container_network_receive_bytes_total", pod="web", interface="eth0", container="POD") > 0
    assert of(found, "container_network_transmit_bytes_total", id="/", interface="eth0") > 0
    assert of(found, "container_processes", **main) == 1
    assert of(found, "container_spec_memory_limit_bytes", **main) == 64 * MIB
    assert of(found, "container_spec_cpu_quota", **main) == 50_000
    assert of(found, "container_spec_cpu_shares", **main) == 256
    assert of(found, "container_spec_cpu_shares", **{**main, "container": "side"}) == 2
    assert len(found["container_spec_cpu_quota"]) == 1, "who has no limit has no quota"
    assert of(found, "container_memory_failures_total", failure_type="pgfault", scope="hierarchy", **main) == 7
    assert of(found, "machine_cpu_cores", boot_id="b") == 4
    assert of(found, "container_scrape_error") == 0


async def test_probe_metrics(api: Api) -> None:
    found = await api.metrics("/metrics/probes")
    about = {"probe_type": "Readiness", "container": "main", "pod": "web", "namespace": "default"}
    asked = of(found, "prober_probe_total", result="successful", pod_uid="uid-web", **about)
    assert asked >= 5
    assert of(found, "prober_probe_duration_seconds_count", **about) == asked
    assert of(found, "process_start_time_seconds") == read_process().started


async def test_kubelet_metrics(api: Api) -> None:
    with api.http.serving("GET", "/pods?x=1", read_only=True):
        pass
    found = await api.metrics("/metrics")
    assert of(found, "kubelet_node_name", node="node") == 1
    assert of(found, "kubelet_running_pods") == 1
    assert of(found, "kubelet_running_containers", container_state="running") == 2
    assert of(found, "kubelet_running_containers", container_state="exited") == 1
    assert of(found, "kubelet_desired_pods", static="true") == 1
    assert of(found, "kubelet_started_containers_total", container_type="init_container") == 1
    assert of(found, "kubelet_started_pods_total") == 1
    assert of(found, "kubelet_pod_start_duration_seconds_count") == 1
    assert of(found, "kubelet_runtime_operations_total", operation_type="run_podsandbox") == 1
    assert of(found, "kubelet_runtime_operations_duration_seconds_count", operation_type="start_container") == 3
    assert of(found, "kubelet_http_requests_total", path="pods", server_type="readonly", method="GET") == 1
    assert of(found, "kubelet_http_inflight_requests", path="pods") == 0
    assert of(found, "kubelet_cgroup_version") == 2
    assert "kubelet_evictions" not in found, "there was none"
    assert of(found, "process_resident_memory_bytes") > MIB
    assert of(found, "process_open_fds") > 3


async def test_the_machine_is_described(api: Api) -> None:
    assert await api.document("/spec/") == MACHINE


@pytest.mark.parametrize("path", ["/metrics/cadvisor", "/metrics/resource"])
async def test_an_answer_is_written_once_for_all_who_ask(api: Api, path: str) -> None:
    handler = api.routes["GET", path].handler
    first = await api.get(path)
    again = await asyncio.gather(*(handler(Request(method="GET", path=path)) for _ in range(3)))
    assert all(answer is first for answer in again)
    await api.world.clock.advance(2)
    assert await api.get(path) is not first


# --- requests


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/pods", ("false", "GET", "pods", "readonly")),
        ("GET", "/metrics/cadvisor", ("false", "GET", "metrics/cadvisor", "readonly")),
        ("GET", "/metrics", ("false", "GET", "metrics", "readonly")),
        ("POST", "/exec/default/web/main?command=a", ("true", "POST", "exec", "readonly")),
        ("GET", "/../../etc/passwd", ("false", "GET", "other", "readonly")),
        ("BREW", "/stats/summary", ("false", "OTHER", "stats/summary", "readonly")),
        ("GET", "/", ("false", "GET", "other", "readonly")),
    ],
)
def test_what_a_request_is_counted_as(method: str, path: str, expected: tuple[str, ...]) -> None:
    """Whoever makes up methods and paths makes no new series."""
    names = ("long_running", "method", "path", "server_type")
    written = ",".join(f'{name}="{value}"' for name, value in zip(names, expected, strict=True))
    assert subject(method, path, read_only=True) == written


def test_a_request_that_fails_is_counted_too() -> None:
    http = HttpCounts()
    with pytest.raises(ValueError, match="no"), http.serving("GET", "/pods", read_only=False):
        raise ValueError("no")
    (about,) = http.begun
    assert (http.begun[about], http.in_flight[about], http.durations[about].count) == (1, 0, 1)


# --- for nsrun's own command line


async def test_usage_for_the_command_line(api: Api) -> None:
    document = await api.document("/nsrun/usage")
    assert document["node"]["cores"] == 4
    (seen,) = document["pods"]
    about = {"name": "web", "namespace": "default", "uid": "uid-web", "labels": {"app": "web"}}
    assert (seen["metadata"], seen["status"]["phase"], seen["restarts"]) == (about, "Running", 0)
    assert seen["cpuNanoCores"] == pytest.approx(1e9, rel=0.01)
    assert seen["memoryLimitBytes"] is None, "one of its containers has no limit"
    assert seen["receivedPerSecond"] == pytest.approx(1000, rel=0.01)
    main, side = seen["containers"]
    assert (main["cpuLimitNanoCores"], main["memoryLimitBytes"]) == (500_000_000, 64 * MIB)
    assert (side["cpuLimitNanoCores"], side["memoryLimitBytes"]) == (None, None)
    assert main["writtenPerSecond"] == pytest.approx(2000, rel=0.01)
    assert main["threads"] == 2


async def test_swap_is_told_where_it_is_counted(api: Api) -> None:
    figures = await FakeRuntime(api.world.machine, api.daemon.life).figures()

    def swapping(usage: Usage) -> Usage:
        assert usage.memory is not None
        return replace(usage, memory=replace(usage.memory, swap=MIB))

    seen = figures.pods[WEB.uid]
    inside = {name: replace(one, usage=swapping(one.usage)) for name, one in seen.containers.items()}
    pods = {WEB.uid: replace(seen, usage=swapping(seen.usage), containers=inside)}
    machine = replace(figures.machine, usage=swapping(figures.machine.usage), swap_total=3 * MIB)
    look = Look(figures=replace(figures, pods=pods, machine=machine), network=NetworkFigures(time=0.0))
    shown = subjects(api.daemon.board.pods(), look.figures)
    since = Since(now=look, before=look)
    document: Any = summary(since, shown, DiskFigures(), node_name="n", started=0.0, brief=True)
    node, (web,) = document["node"], document["pods"]
    assert (node["swap"]["swapUsageBytes"], node["swap"]["swapAvailableBytes"]) == (MIB, 2 * MIB)
    assert web["swap"]["swapUsageBytes"] == web["containers"][0]["swap"]["swapUsageBytes"] == MIB
    found = samples(exposition(resource_metrics(look, shown)))
    assert of(found, "node_swap_usage_bytes") == of(found, "pod_swap_usage_bytes", pod="web") == MIB
    assert of(found, "container_swap_usage_bytes", container="main") == MIB
