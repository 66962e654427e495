"""What ``nsrun top`` and ``nsrun stats`` make of the figures they are given."""

from __future__ import annotations

from typing import Any

import pytest

from nsrun.cli.documents import ContainerRow
from nsrun.cli.looking.screen import picture
from nsrun.cli.looking.sparkline import bar, sparkline
from nsrun.cli.looking.stats import chosen, entries
from nsrun.cli.looking.top_frame import MACHINE, History, View, frame
from nsrun.cli.looking.usage_rows import columns, container_rows, cores, mebibytes, ordered, pod_rows, speed
from nsrun.errors import NotFoundError

MIB = 1 << 20


def container(name: str, **numbers: int | None) -> dict[str, Any]:
    return {
        "name": name,
        "id": f"{name}-0123456789",
        "startedAt": 1000.0,
        "restarts": 1,
        "cpuNanoCores": 250_000_000,
        "cpuNanoSeconds": 75_500_000_000,
        "memoryBytes": 10 * MIB,
        "memoryLimitBytes": None,
        "readBytes": None,
        "threads": 3,
        **numbers,
    }


def usage(*pods: dict[str, Any]) -> dict[str, Any]:
    node = {"cores": 2, "cpuNanoCores": 500_000_000, "memoryBytes": 512 * MIB, "memoryTotalBytes": 1024 * MIB}
    return {"node": node, "pods": list(pods)}


def pod(name: str, *containers: dict[str, Any], namespace: str = "default", **numbers: int | None) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "restarts": 2,
        "cpuNanoCores": 300_000_001,
        "memoryBytes": 20 * MIB,
        "receivedBytes": 1_000_000,
        "sentBytes": 2_000_000,
        "receivedPerSecond": 1000,
        "sentPerSecond": None,
        **numbers,
        "containers": list(containers),
    }


WEB = pod("web", container("main", memoryLimitBytes=20 * MIB), container("side", cpuNanoCores=None))
IDLE = pod("idle", container("main", cpuNanoCores=0), cpuNanoCores=0, receivedPerSecond=None, memoryBytes=90 * MIB)


# --- sparklines


def test_a_sparkline_has_the_newest_at_the_right() -> None:
    assert sparkline([0, 1, 2, 4], width=6) == "  ▁▃▅█"
    assert sparkline([9, 9, 0, 8], width=2) == "▁█"
    assert sparkline([], width=3) == "   "
    assert sparkline([0, 0], width=2) == "▁▁"
    assert sparkline([None, 4], width=2) == " █"


def test_a_sparkline_may_have_a_top() -> None:
    assert sparkline([50, 100], width=2, top=200) == "▃▅"
    assert sparkline([50, 400], width=2, top=200) == "▂█", "more than all there is"


def test_ascii_where_nothing_else_is_known() -> None:
    assert sparkline([0, 4], width=2, plain=True) == "_@"
    assert bar(0.5, width=4, plain=True) == "##.."
    assert bar(0.5, width=4) == "██░░"
    assert bar(7, width=2) == "██"


# --- rows


def test_numbers_as_kubectl_writes_them() -> None:
    assert (cores(0), cores(1), cores(12_500_000), cores(None)) == ("0m", "1m", "13m", "-")
    assert (mebibytes(10 * MIB), mebibytes(None)) == ("10Mi", "-")
    assert (speed(12_000), speed(None)) == ("12kB/s", "-")


def test_the_table_of_pods() -> None:
    (row,) = pod_rows([WEB])
    cells = {column.title: column.cell(row) for column in columns(containers=False)}
    assert cells == {
        "NAMESPACE": "default",
        "NAME": "web",
        "CPU(cores)": "301m",
        "CPU LIMIT": "-",
        "MEMORY(bytes)": "20Mi",
        "MEMORY LIMIT": "-",
        "NET RX": "1kB/s",
        "NET TX": "-",
        "IO READ": "-",
        "IO WRITE": "-",
        "THREADS": "-",
        "RESTARTS": "2",
    }


def test_the_table_of_containers() -> None:
    main, side = container_rows([WEB])
    cells = {column.title: column.cell(main) for column in columns(containers=True)}
    assert (cells["POD"], cells["NAME"], cells["CPU(cores)"]) == ("web", "main", "250m")
    assert (cells["MEMORY LIMIT"], cells["RESTARTS"], cells["NET RX"]) == ("20Mi", "1", "1kB/s")
    assert side.name == "web/side"


@pytest.mark.parametrize(
    ("by", "first"),
    [("cpu", "web"), ("memory", "idle"), ("network", "web"), ("io", "idle"), ("restarts", "idle"), ("name", "idle")],
)
def test_rows_are_sorted_the_highest_first_then_by_name(by: str, first: str) -> None:
    assert ordered(pod_rows([WEB, IDLE]), by)[0].pod == first


def test_what_is_not_known_comes_last() -> None:
    assert [row.container for row in ordered(container_rows([WEB]), "cpu")] == ["main", "side"]


# --- the picture


def test_a_picture_fits() -> None:
    rows = pod_rows([WEB, IDLE])
    history = History()
    history.add({MACHINE: 1.0, **{row.key: 1.0 for row in rows}})
    for width in (10, 40, 200):
        lines = frame(usage()["node"], rows, history, View(colour=False), width=width)
        assert max(len(line) for line in lines) <= width
    assert lines[0].startswith("CPU    █████░░░░░░░░░░░░░░░  0.50 of 2 cores")
    assert lines[1].startswith("Memory ██████████░░░░░░░░░░ 537MB of 1.07GB")
    assert "sort: [c]pu [m]emory" in lines[2]
    titles = "NAMESPACE NAME CPU(cores) MEMORY(bytes) NET RX NET TX IO READ IO WRITE RESTARTS CPU TREND"
    assert " ".join(lines[4].split()) == titles
    assert lines[5].endswith("█")


def test_a_picture_of_nothing_and_of_a_failure() -> None:
    lines = frame({}, [], History(), View(colour=False, notice="cannot reach nsrun"), width=80)
    assert lines[2] == "cannot reach nsrun"
    assert lines[-1] == "nothing runs"
    assert frame({}, [], History(), View(), width=80)[2].startswith("\x1b[2m")


def test_history_is_kept_of_what_is_there() -> None:
    history, web, idle = History(length=3), ("d", "web", ""), ("d", "idle", "")
    for value in range(5):
        history.add({web: value})
    history.add({web: None, idle: 1.0})
    assert list(history.of(web)) == [3, 4, None]
    history.add({idle: 2.0})
    assert list(history.of(web)) == []


def test_only_what_fits_is_drawn_and_the_rest_is_cleared() -> None:
    assert picture(["a", "b", "c"], 2) == "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J"


# --- nsrun stats


def test_entries_are_podmans() -> None:
    found = entries(usage(WEB), (), now=1151.0)
    assert found["default", "web", "main"] == {
        "id": "main-0123456789",
        "name": "web/main",
        "cpu_time": "1m15.500s",
        "cpu_percent": "25.00%",
        "avg_cpu": "50.00%",
        "mem_usage": "10.5MB / 21MB",
        "mem_percent": "50.00%",
        "net_io": "1MB / 2MB",
        "block_io": "-- / --",
        "pids": "3",
    }
    side = found["default", "web", "side"]
    assert (side["cpu_percent"], side["mem_usage"], side["mem_percent"]) == ("--", "10.5MB / 1.07GB", "0.98%")


def test_times_are_written_as_go_does() -> None:
    short = entries(usage(pod("a", container("b", cpuNanoSeconds=12_500_000))), (), now=1151.0)
    assert short["default", "a", "b"]["cpu_time"] == "12.500ms"
    long = entries(usage(pod("a", container("b", cpuNanoSeconds=7_325 * 10**9))), (), now=1151.0)
    assert long["default", "a", "b"]["cpu_time"] == "2h2m5.000s"


def test_containers_that_do_not_run_have_no_figures() -> None:
    document = {"metadata": {"name": "web", "namespace": "default"}}
    rows = [ContainerRow(pod=document, spec={"name": name}, status={}) for name in ("main", "ended")]
    found = entries(usage(WEB), rows, now=1151.0)
    assert list(found) == [("default", "web", name) for name in ("ended", "main", "side")]
    assert found["default", "web", "ended"]["cpu_percent"] == "--"
    assert found["default", "web", "main"]["cpu_percent"] == "25.00%"


@pytest.mark.parametrize("name", ["web", "web/main", "default/web", "default/web/main"])
def test_containers_are_named_in_several_ways(name: str) -> None:
    found = entries(usage(WEB, IDLE), (), now=1151.0)
    assert "web/main" in [entry["name"] for entry in chosen(found, [name])]
    assert "idle/main" not in [entry["name"] for entry in chosen(found, [name])]


def test_a_name_that_nothing_has_is_an_error() -> None:
    with pytest.raises(NotFoundError, match='cannot show "nobody": nothing of that name runs'):
        chosen(entries(usage(WEB), (), now=1151.0), ["web", "nobody"])
