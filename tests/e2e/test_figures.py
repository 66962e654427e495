"""What a running daemon says is used: known amounts, through every door that tells of them; a real Prometheus asks."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.lives import pod, shell
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

MIB = 1 << 20
PORT, PROMETHEUS_PORT, SINK_PORT = 10355, 19090, 9999
URL = f"http://127.0.0.1:{PORT}"
ENDPOINTS = ("/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes")
SENT = 8 * MIB

BUSY = shell("busy", "while :; do :; done", resources={"limits": {"cpu": "200m", "memory": "64Mi"}})
HOLDS = shell("holds", f"dd if=/dev/zero of=/dev/shm/x bs={MIB} count=32; echo held; exec sleep 1000")
WRITES = shell("writes", f"dd if=/dev/zero of=/big bs={MIB} count=5; echo written; exec sleep 1000")
SENDS = shell(
    "sends", f"until dd if=/dev/zero bs={MIB} count=8 | nc 10.99.0.1 {SINK_PORT}; do sleep 1; done; exec sleep 1000"
)
ASKED = shell(
    "asked",
    "exec sleep 1000",
    readinessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1},
    startupProbe={"exec": {"command": ["true"]}, "periodSeconds": 1},
)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30 * PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def document(url: str) -> Any:
    return json.loads(get(url))


@contextmanager
def sink() -> Iterator[list[int]]:
    """Whatever is sent to it is read, and its length is in the list once the sender has ended."""
    received: list[int] = []

    def read() -> None:
        connection, _ = listener.accept()
        total = 0
        with connection:
            while data := connection.recv(MIB):
                total += len(data)
        received.append(total)

    with socket.create_server(("0.0.0.0", SINK_PORT)) as listener:
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield received


def summary_of(name: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A pod, and its containers by name."""
    (found,) = [seen for seen in document(f"{URL}/stats/summary")["pods"] if seen["podRef"]["name"] == name]
    return found, {container["name"]: container for container in found["containers"]}


def test_known_amounts_through_every_door(loaded: Nsrun, tool: Callable[[str], str], tmp_path: Path) -> None:
    prometheus, promtool = tool("prometheus"), tool("promtool")
    loaded.flags = (*loaded.flags, "--read-only-port", str(PORT))
    with sink() as received:
        loaded.start()
        loaded.apply("p.json", pod("p", BUSY, HOLDS, WRITES, SENDS, ASKED))
        loaded.ready("p")
        eventually(lambda: received == [SENT], what="everything was sent")
    eventually(lambda: "held" in loaded.cli("logs", "p", "-c", "holds").stdout)
    eventually(lambda: "written" in loaded.cli("logs", "p", "-c", "writes").stdout)
    amounts_are_right()
    disks_are_right()
    everything_agrees(loaded)
    it_can_be_watched(loaded)
    for endpoint in ENDPOINTS:
        done = subprocess.run([promtool, "check", "metrics"], input=get(URL + endpoint), capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), endpoint
    prometheus_is_content(prometheus, tmp_path)
    machine = document(f"{URL}/spec/")
    assert machine["num_cores"] >= 1
    assert machine["memory_capacity"] > 64 * MIB


def amounts_are_right() -> None:
    seen, containers = summary_of("p")
    busy, holds = containers["busy"], containers["holds"]
    assert 0 < busy["cpu"]["usageNanoCores"] <= 0.3e9, "it may have a fifth of a core"
    assert busy["cpu"]["usageCoreNanoSeconds"] > holds["cpu"]["usageCoreNanoSeconds"] > 0
    assert 32 * MIB <= holds["memory"]["workingSetBytes"] <= 40 * MIB
    assert busy["memory"]["workingSetBytes"] < 8 * MIB
    assert busy["memory"]["availableBytes"] == 64 * MIB - busy["memory"]["workingSetBytes"]
    # A segment of 1448 bytes has headers of 66; how many segments make one packet is the kernel's choice.
    assert SENT <= seen["network"]["txBytes"] <= 1.1 * SENT
    assert seen["memory"]["usageBytes"] >= sum(one["memory"]["usageBytes"] for one in containers.values()) - 4 * MIB
    assert seen["process_stats"]["process_count"] >= 6


def disks_are_right() -> None:
    def measured() -> dict[str, dict[str, Any]] | None:
        _, containers = summary_of("p")
        known = all("rootfs" in container for container in containers.values())
        return containers if known and containers["writes"]["rootfs"]["usedBytes"] >= 5 * MIB else None

    containers = eventually(measured, seconds=90.0, every=0.5, what="disks were looked at")
    assert containers is not None
    assert 5 * MIB <= containers["writes"]["rootfs"]["usedBytes"] <= 5.5 * MIB
    assert containers["holds"]["rootfs"]["usedBytes"] < MIB
    assert containers["writes"]["logs"]["usedBytes"] > 0


def metrics(endpoint: str) -> dict[str, dict[str, float]]:
    """Of every family the values by container."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(get(URL + endpoint).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[sample.labels.get("container", "")] = sample.value
    return found


def everything_agrees(loaded: Nsrun) -> None:
    """The same processes, whoever asks and however."""
    cadvisor, resource = metrics("/metrics/cadvisor"), metrics("/metrics/resource")
    listed = json.loads(loaded.cli("top", "containers", "-o", "json").stdout)["items"]
    shown = {row["name"]: row for row in listed}
    as_podman = {row["name"]: row for row in json.loads(loaded.cli("stats", "--format", "json").stdout)}
    held = [
        cadvisor["container_memory_working_set_bytes"]["holds"],
        resource["container_memory_working_set_bytes"]["holds"],
        shown["holds"]["memoryBytes"],
    ]
    assert all(32 * MIB <= amount <= 40 * MIB for amount in held), held
    assert 33.5 <= float(as_podman["p/holds"]["mem_usage"].partition("MB")[0]) <= 42
    assert 0 < float(as_podman["p/busy"]["cpu_percent"].rstrip("%")) <= 30
    first, second, *_ = loaded.cli("top", "--once", "--containers", "--sort-by", "memory").stdout.splitlines()
    assert first.split()[:5] == ["NAMESPACE", "POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert second.split()[:3] == ["default", "p", "holds"]
    assert cadvisor["container_network_transmit_bytes_total"]["POD"] >= SENT
    assert cadvisor["container_spec_cpu_quota"]["busy"] == 20_000
    assert cadvisor["container_cpu_cfs_throttled_periods_total"]["busy"] > 0
    probes = metrics("/metrics/probes")
    assert probes["prober_probe_total"]["asked"] >= 1
    kubelet = metrics("/metrics")
    assert kubelet["kubelet_running_pods"][""] == 1
    assert kubelet["kubelet_running_containers"][""] == 5
    assert kubelet["kubelet_started_containers_total"][""] == 5


def it_can_be_watched(loaded: Nsrun) -> None:
    """On a terminal: it is drawn again and again, follows the size, obeys keys, and gives the terminal back."""
    with Terminal(loaded.command("top", "--interval", "0.5"), loaded.environ()) as terminal:
        terminal.shows("CPU TREND")
        terminal.shows("\x1b[?1049h")
        terminal.size(columns=40, rows=10)
        terminal.shows(re.compile(r"\x1b\[H.{0,40}\x1b\[K"))
        terminal.type("p")
        terminal.shows("holds")
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.seen.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
        assert terminal.is_as_before()
    with Terminal(loaded.command("stats"), loaded.environ()) as terminal:
        terminal.shows("MEM USAGE / LIMIT")
        terminal.type("\x03")
        assert terminal.ended() == 130
        assert terminal.is_as_before()


class Terminal:
    """A program on a terminal of its own. ``seen``: all it wrote."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.size(columns=120, rows=30)
        self._before = termios.tcgetattr(self._master)
        self.seen = ""
        environment = {**environment, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
        environment = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True, preexec_fn=_own
        )
        self._slave = slave

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)
        os.close(self._slave)

    def size(self, *, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """From here on only what comes is looked at."""
        self.seen = ""
        os.write(self._master, text.encode())

    def shows(self, wanted: str | re.Pattern[str]) -> None:
        def there() -> bool:
            self._read()
            return wanted in self.seen if isinstance(wanted, str) else wanted.search(self.seen) is not None

        eventually(there, what=f"{wanted!r} is shown")

    def ended(self) -> int:
        """Its exit code; all it wrote was read."""

        def over() -> bool:
            self._read()  # a full terminal would hold it up
            return self._process.poll() is not None

        eventually(over, what="it ends")
        self._read()
        return self._process.returncode

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self._master) == self._before

    def _read(self) -> None:
        while select.select([self._master], [], [], 0)[0]:
            self.seen += os.read(self._master, 65536).decode(errors="replace")


def _own() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def prometheus_is_content(program: str, directory: Path) -> None:
    """It scrapes all four, finds nothing wrong, and answers a dashboard's question."""
    jobs = [
        {
            "job_name": endpoint.strip("/").replace("/", "-"),
            "metrics_path": endpoint,
            "scrape_interval": "1s",
            "static_configs": [{"targets": [f"127.0.0.1:{PORT}"]}],
        }
        for endpoint in ENDPOINTS
    ]
    config = directory / "prometheus.yml"
    config.write_text(json.dumps({"scrape_configs": jobs}))  # JSON is YAML
    arguments = [
        f"--config.file={config}",
        f"--storage.tsdb.path={directory}/tsdb",
        f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}",
        "--log.level=warn",
    ]
    log = directory / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, *arguments], stdout=output, stderr=output)
    try:
        targets = eventually(scraped, seconds=60.0, every=0.5, what="everything was scraped twice")
        assert targets is not None
        assert {(target["health"], target["lastError"]) for target in targets} == {("up", "")}
        asked = (
            'sum by (container) (container_memory_working_set_bytes{job="metrics-cadvisor",container!="",image!=""})'
        )
        by_container = {row["metric"]["container"]: float(row["value"][1]) for row in query(asked)}
        assert by_container["holds"] >= 32 * MIB
        assert "POD" not in by_container
        rate = 'rate(container_cpu_usage_seconds_total{job="metrics-resource",container="busy"}[1m])'
        eventually(lambda: query(rate), every=0.5, what="what is known of two moments")
        assert "error" not in log.read_text().lower()
    finally:
        process.terminate()
        process.wait()


def scraped() -> list[dict[str, Any]] | None:
    try:
        targets = document(f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/targets")["data"]["activeTargets"]
        twice = all(len(row["values"]) >= 2 for row in query("up[1m]")) and len(query("up")) == len(ENDPOINTS)
    except OSError:
        return None
    done = len(targets) == len(ENDPOINTS) and all(target["health"] != "unknown" for target in targets)
    return targets if done and twice else None


def query(text: str) -> list[dict[str, Any]]:
    asked = urllib.parse.urlencode({"query": text})
    found: list[dict[str, Any]] = document(f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query?{asked}")["data"]["result"]
    return found
