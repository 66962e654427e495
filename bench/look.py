"""Looking inside: commands, logs, listings, ports and files, as a person asks for them: each figure is of whole
programs, from their start to their end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.figures import Figure, median
from bench.manifests import scripted, sleeper
from bench.podman import Podman
from bench.program import CGROUP, Program, pss_kib, running, wait

__all__ = ["figures", "measure_nsrun", "measure_podman"]

NSRUN = str(Path(sys.executable).parent / "nsrun")
LINE = "a line of a log as programs write them, with some words in it"
LOG_LINES = 1_000_000_000 // (len(LINE) + 1)
LOG_BYTES = LOG_LINES * (len(LINE) + 1)
PODS, FOLLOWERS, EXECS = 500, 200, 100
LINES = 10_000
PORT_BYTES = 2_000_000_000
FILES, FILE_BYTES = 1000, 100_000

_WRITE = f"yes {LINE} | head -n {LOG_LINES}"
_COUNT = f"echo ready; until [ -e /shared/go ]; do sleep 0.05; done; seq 1 {LINES}; echo end"
_SERVE = """
import socket, sys
server = socket.create_server(("127.0.0.1", 7000))
print("ready", flush=True)
data = bytes(1 << 20)
while True:
    connection, _ = server.accept()
    try:
        for _ in range(int(sys.argv[1]) >> 20):
            connection.sendall(data)
    except OSError:
        pass
    connection.close()
"""


def measure_nsrun(base: Path, images: Path, *, runs: int) -> dict[str, float]:
    """By name: times in ms, rates in MB/s, memory in KiB, numbers of what was lost or left."""
    shared = base / "shared"
    shared.mkdir(parents=True)
    with running(base / "nsrun", images, NSRUN_CONTAINER_LOG_MAX_SIZE="4Gi") as program:
        program.apply("sleeper", sleeper("sleeper"))
        wait(lambda: "sleeper" in program.ready(), 60)
        # Before there is anything else to do: a gigabyte of log keeps both processors busy.
        exec_ms = median([_ms([NSRUN, "exec", "sleeper", "true"], program.environment) for _ in range(runs)])
        program.apply("writer", scripted("writer", _WRITE, str(shared)))
        program.apply("counter", scripted("counter", _COUNT, str(shared)))
        wait(lambda: "counter" in program.ready(), 60)
        found = {
            "exec": exec_ms,
            **_follow(program, base, shared),
            **_execs(program, base),
            "forward": _forward(program, _nsrun_forward),
            **_copies(base, lambda *words: [NSRUN, "cp", *words], "sleeper", program.environment, min(runs, 5)),
            "logs": _logs(program, min(runs, 5)),
        }
        if shutil.which("socat") is not None:
            found["socat"] = _forward(program, _socat_forward)
    found["ps"] = _ps(base, runs)
    return found


def _ms(argv: Sequence[str], environment: Mapping[str, str], output: int = subprocess.DEVNULL) -> float:
    before = time.monotonic()
    subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, stdout=output, check=True)
    return (time.monotonic() - before) * 1000


def _logs(program: Program, runs: int) -> float:
    """MB/s of what the container wrote, once all of it is there."""
    show = [NSRUN, "logs", "writer"]

    def size() -> int:
        with subprocess.Popen(show, env=program.environment, stdout=subprocess.PIPE) as process:
            output = process.stdout
            assert output is not None
            return sum(iter(lambda: len(output.read(1 << 20)), 0))

    wait(lambda: size() == LOG_BYTES, 120, every=1)
    return LOG_BYTES / 1000 / median([_ms(show, program.environment) for _ in range(runs)])


def _ps(base: Path, runs: int) -> float:
    """ms of ``nsrun ps`` beside a daemon that tells of 500 pods with 1000 containers."""
    run_dir = base / "imagined"
    run_dir.mkdir()
    serving = subprocess.Popen([sys.executable, "-m", "bench.imagined", str(run_dir), str(PODS)])
    environment = {**os.environ, "NSRUN_RUN_DIR": str(run_dir)}
    try:
        wait(lambda: subprocess.run([NSRUN, "ps"], env=environment, capture_output=True).returncode == 0, 60)
        listed = subprocess.run([NSRUN, "ps"], env=environment, capture_output=True, check=True).stdout
        assert len(listed.splitlines()) == 2 * PODS + 1
        return median([_ms([NSRUN, "ps"], environment) for _ in range(runs)])
    finally:
        serving.kill()
        serving.wait()


def _follow(program: Program, base: Path, shared: Path) -> dict[str, float]:
    """Many followers of one log: how many have not every line, how long after the first line the last one ended."""
    outputs = [base / f"follow-{n}" for n in range(FOLLOWERS)]
    processes = _start([NSRUN, "logs", "-f", "counter"], outputs, program.environment)
    wait(lambda: all(path.read_bytes() == b"ready\n" for path in outputs), 300, every=0.2)
    memory = pss_kib([process.pid for process in processes])
    before = time.monotonic()
    (shared / "go").touch()
    codes = [process.wait(300) for process in processes]
    took = (time.monotonic() - before) * 1000
    expected = b"ready\n" + b"".join(b"%d\n" % n for n in range(1, LINES + 1)) + b"end\n"
    lost = sum(code != 0 or path.read_bytes() != expected for code, path in zip(codes, outputs, strict=True))
    return {"follow_lost": lost, "follow": took, "follower": memory / FOLLOWERS}


def _execs(program: Program, base: Path) -> dict[str, float]:
    """Many commands at once: how many went wrong, how many processes more there are afterwards."""
    before = _processes_of(program)
    outputs = [base / f"exec-{n}" for n in range(EXECS)]
    began = time.monotonic()
    processes = _start([NSRUN, "exec", "sleeper", "--", "seq", "1", "1000"], outputs, program.environment)
    codes = [process.wait(300) for process in processes]
    took = (time.monotonic() - began) * 1000
    expected = b"".join(b"%d\n" % n for n in range(1, 1001))
    lost = sum(code != 0 or path.read_bytes() != expected for code, path in zip(codes, outputs, strict=True))
    return {"execs": took, "execs_lost": lost, "execs_left": _processes_of(program) - before}


def _processes_of(program: Program) -> int:
    """Of the bench's pods: in its cgroup."""
    found = 0
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                found += f"/{CGROUP}/" in (directory / "cgroup").read_text()
            except OSError:
                continue
    return found


def _start(
    argv: Sequence[str], outputs: Sequence[Path], environment: Mapping[str, str]
) -> list[subprocess.Popen[bytes]]:
    started = []
    for path in outputs:
        with path.open("wb") as output:
            started.append(subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=output))
    return started


def _forward(program: Program, forward: Sequence[str]) -> float:
    """MB/s of one connection out of the pod. ``forward``: makes local port 7001 the pod's port 7000."""
    serve = [NSRUN, "netns", "sleeper", "--", sys.executable, "-c", _SERVE, str(PORT_BYTES)]
    with subprocess.Popen(serve, env=program.environment, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        null = subprocess.DEVNULL
        forwarder = subprocess.Popen(forward, env=program.environment, stdout=null, stderr=null)
        try:
            wait(lambda: _received(1) == 1, 30)
            before = time.monotonic()
            count = _received(PORT_BYTES)
            return count / 1e6 / (time.monotonic() - before)
        finally:
            for process in (forwarder, server):
                process.kill()
                process.wait()


_nsrun_forward = [NSRUN, "port-forward", "sleeper", "7001:7000"]
# What kubelets with dockershim did for ``kubectl port-forward``: socat in the pod's network namespace.
_socat_forward = [
    "socat",
    "TCP4-LISTEN:7001,fork,reuseaddr",
    "EXEC:ip netns exec default_sleeper socat STDIO TCP4\\:127.0.0.1\\:7000",
]


def _received(most: int) -> int:
    count = 0
    try:
        with socket.create_connection(("127.0.0.1", 7001), timeout=10) as connection:
            buffer = bytearray(1 << 20)
            while count < most and (size := connection.recv_into(buffer, min(len(buffer), most - count))):
                count += size
    except OSError:
        pass
    return count


def _copies(
    base: Path, copy: Callable[[str, str], Sequence[str]], name: str, environment: Mapping[str, str], runs: int
) -> dict[str, float]:
    """ms for a tree of 100 MB in a thousand files, into a container and out again."""
    tree = base / "tree"
    if not tree.exists():
        tree.mkdir()
        for number in range(FILES):
            (tree / str(number)).write_bytes(os.urandom(FILE_BYTES))
    into, out = [], []
    for run in range(runs):
        back = base / f"back-{name}-{run}"
        into.append(_ms(copy(str(tree), f"{name}:/tree-{run}"), environment))
        out.append(_ms(copy(f"{name}:/tree-{run}", str(back)), environment))
        assert len(list(back.iterdir())) == FILES
        shutil.rmtree(back)
    return {"copy_in": median(into), "copy_out": median(out)}


def measure_podman(podman: Podman, base: Path, *, runs: int) -> dict[str, float]:
    """The same of podman, as far as it has it."""
    base.mkdir(parents=True, exist_ok=True)
    image, program = "docker.io/library/busybox:latest", "podman"
    podman.run("run", "-d", "--network", "none", "--name", "peer", image, "sleep", "100000")
    exec_ms = median([_ms([program, "exec", "peer", "true"], podman.environment) for _ in range(runs)])
    podman.run(
        "run", "-d", "--network", "none", "--log-driver", "k8s-file", "--name", "writer", image, "sh", "-c", _WRITE
    )
    found = {
        "exec": exec_ms,
        **_copies(base, lambda *words: [program, "cp", *words], "peer", podman.environment, min(runs, 5)),
    }
    podman.run("wait", "writer")
    found["logs"] = LOG_BYTES / 1000 / _ms([program, "logs", "writer"], podman.environment)  # a minute
    podman.run("rm", "--all", "--force", "--time", "0")
    return found


def figures(ours: Mapping[str, float], podman: Mapping[str, float], *, runs: int) -> list[Figure]:
    """Beside podman's and socat's, with the bars of the design."""
    return [*_commands(ours, podman, runs), *_crowds(ours), *_transfers(ours, podman, min(runs, 5))]


def _beside(podman: Mapping[str, float], key: str) -> dict[str, float]:
    return {"podman": podman[key]} if key in podman else {}


def _commands(ours: Mapping[str, float], podman: Mapping[str, float], runs: int) -> list[Figure]:
    return [
        Figure(
            name="exec POD true",
            unit="ms",
            ours=ours["exec"],
            peers=_beside(podman, "exec"),
            bar="≤ 0.5 × podman",
            within=ours["exec"] <= 0.5 * podman["exec"] if "exec" in podman else None,
            runs=runs,
        ),
        Figure(
            name="logs of 1 GB",
            unit="MB/s",
            ours=ours["logs"],
            peers=_beside(podman, "logs"),
            bar="≥ 500",
            within=ours["logs"] >= 500,
            runs=min(runs, 5),
        ),
        Figure(
            name=f"ps of {PODS} pods with {2 * PODS} containers",
            unit="ms",
            ours=ours["ps"],
            bar="≤ 150",
            within=ours["ps"] <= 150,
            runs=runs,
        ),
    ]


def _crowds(ours: Mapping[str, float]) -> list[Figure]:
    return [
        Figure(
            name=f"{FOLLOWERS} logs -f at once, {LINES} lines each: not whole",
            unit="",
            ours=ours["follow_lost"],
            bar="0",
            within=not ours["follow_lost"],
        ),
        Figure(name="the same: first line written → last one ended", unit="ms", ours=ours["follow"]),
        Figure(name="the same: memory of one, PSS", unit="KiB", ours=ours["follower"]),
        Figure(
            name=f"{EXECS} exec at once: not whole, or processes left",
            unit="",
            ours=ours["execs_lost"] + max(ours["execs_left"], 0),
            bar="0",
            within=not ours["execs_lost"] and ours["execs_left"] <= 0,
        ),
        Figure(name="the same: all of them", unit="ms", ours=ours["execs"]),
    ]


def _transfers(ours: Mapping[str, float], podman: Mapping[str, float], runs: int) -> list[Figure]:
    return [
        Figure(
            name="port-forward of 2 GB out of a pod",
            unit="MB/s",
            ours=ours["forward"],
            peers={"socat": ours["socat"]} if "socat" in ours else {},
        ),
        Figure(
            name="cp of 1000 files, 100 MB, into a container",
            unit="ms",
            ours=ours["copy_in"],
            peers=_beside(podman, "copy_in"),
            runs=runs,
        ),
        Figure(
            name="the same, out of it",
            unit="ms",
            ours=ours["copy_out"],
            peers=_beside(podman, "copy_out"),
            runs=runs,
        ),
    ]
