"""How long a container takes from the plan being sent to its program being executed, against the floor.

``bare.c`` makes the same system calls and nothing else. Starts are spaced out (``--idle``, ms): in a tight loop the
kernel's RCU stays in a fast mode that a real machine is not in. Both take short turns, so that the machine's moods hit
both. Run as root; it works in namespaces of its own.

    .venv/bin/python bench/native/launch_bench.py [--count 60] [--idle 50] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from nsrun.support import native  # noqa: E402
from nsrun.support.native import abi  # noqa: E402
from tests.native.plans import NULL_DEVICE, Plan, sealed  # noqa: E402

BASE = Path("/run/launch-bench")
BUDGET = 2.0
BATCH = 5
NODES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
MASKED = ("acpi", "kcore", "keys", "latency_stats", "timer_list", "interrupts", "scsi")
FIXED = ("bus", "fs", "irq", "sys", "sysrq-trigger")
CAPS = 0xA80425FB & ~(1 << 13 | 1 << 27 | 1 << 29)


def container(id: str) -> Plan:
    """What bare.c does, as a plan."""
    tight = native.MOUNT_ATTR_NOSUID | native.MOUNT_ATTR_NODEV | native.MOUNT_ATTR_NOEXEC
    for kind in ("upper", "work"):
        (BASE / kind / id).mkdir(parents=True)
    plan = Plan(new_namespaces=native.CLONE_NEWNS | native.CLONE_NEWPID)
    plan.join_namespaces = native.CLONE_NEWUTS | native.CLONE_NEWIPC | native.CLONE_NEWNET
    layers = [str(BASE / "lower0"), str(BASE / "lower1")]
    plan.root(str(BASE / "stage"), layers, str(BASE / "upper" / id), str(BASE / "work" / id))
    plan.fs("proc", "/proc", attributes=tight, real=1)
    plan.fs("tmpfs", "/dev", "mode=755", attributes=native.MOUNT_ATTR_NOSUID, real=1)
    plan.fs("devpts", "/dev/pts", "mode=0620", attributes=native.MOUNT_ATTR_NOSUID | native.MOUNT_ATTR_NOEXEC)
    plan.fs("mqueue", "/dev/mqueue", attributes=tight)
    plan.fs("tmpfs", "/dev/shm", "mode=1777", attributes=tight)
    plan.fs("sysfs", "/sys", attributes=tight | native.MOUNT_ATTR_RDONLY, real=1)
    for name, minor in NODES.items():
        plan.node(f"/dev/{name}", 0o666, os.makedev(os.major(NULL_DEVICE), minor))
    plan.node("/dev/tty", 0o666, os.makedev(5, 0))
    for name, target in LINKS.items():
        plan.add(abi.NS_OP_SYMLINK, target, f"/dev/{name}")
    plan.add(abi.NS_OP_SYMLINK, "pts/ptmx", "/dev/ptmx")
    for path in (*(f"/proc/{name}" for name in MASKED), "/sys/firmware", "/sys/devices/virtual/powercap"):
        plan.add(abi.NS_OP_MASK, path, str(BASE / "empty"))
    for name in FIXED:
        plan.add(abi.NS_OP_READONLY, f"/proc/{name}")
    plan.add(abi.NS_OP_PIVOT)
    plan.add(abi.NS_OP_CWD, "/")
    plan.add(abi.NS_OP_SETSID)
    plan.add(abi.NS_OP_RLIMIT, a=7, b=1024, c=1024)
    plan.groups()
    plan.add(abi.NS_OP_CAPS, a=CAPS, b=CAPS)
    plan.add(abi.NS_OP_PDEATHSIG, a=signal.SIGKILL)
    plan.run("exit", "0")
    return plan


class Shim:
    """A shim with a sandbox."""

    def __init__(self, programs: Path) -> None:
        run_dir = BASE / "run"
        run_dir.mkdir()
        fd = os.open(run_dir, os.O_RDONLY)
        self.pid = native.spawn_shim(str(programs / "nsrun-shim"), fd, "bench")
        os.close(fd)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(run_dir / "shim.sock"))
        self.logs = os.open(BASE / "logs", os.O_RDONLY)
        plan = Plan(new_namespaces=native.CLONE_NEWUTS | native.CLONE_NEWIPC | native.CLONE_NEWNET | native.CLONE_NEWNS)
        plan.add(abi.NS_OP_EXEC_FD, "", b"pause\0", b"", fd=plan.fd(os.open(programs / "pause", os.O_RDONLY)))
        self.launch("sandbox", plan, flags=abi.NS_LAUNCH_SANDBOX)
        self.ask(abi.NS_REQ_SUBSCRIBE)

    def ask(self, kind: int, *, fds: list[int] | None = None, **fields: int | str) -> native.Message:
        socket.send_fds(self.socket, [native.pack_request(kind, 1, **fields)], fds or [])  # type: ignore[arg-type]
        message = native.unpack_message(self.socket.recv(4096))
        if message.kind == abi.NS_MSG_FAILED:
            raise RuntimeError(f"{message}")
        return message

    def launch(self, id: str, plan: Plan, *, flags: int = 0) -> float:
        """Microseconds from the sending of the plan to the news of the exec."""
        memory = sealed(plan.encode())
        fds = [memory, *([] if flags else [self.logs]), *plan.fds]
        before = time.perf_counter()
        self.ask(abi.NS_REQ_LAUNCH, fds=fds, id=id, log=f"{id}.log", flags=flags)
        took = (time.perf_counter() - before) * 1e6
        os.close(memory)
        return took

    def run(self, number: int) -> float:
        id = f"c.{number}"
        took = self.launch(id, container(id))
        ended = native.unpack_message(self.socket.recv(4096))
        if ended.kind != abi.NS_MSG_EXIT or ended.wait_status != 0:
            raise RuntimeError(f"{ended}")
        self.ask(abi.NS_REQ_FORGET, id=id)
        return took


def bare(programs: Path, count: int, idle: int) -> list[float]:
    for kind in ("upper", "work"):
        subprocess.run(["rm", "-rf", str(BASE / kind)], check=True)
        (BASE / kind).mkdir()
    command = [str(programs / "bare"), str(BASE), str(count), str(idle), "/bin/reporter"]
    return [float(line) for line in subprocess.check_output(command, text=True).split()]


def build(programs: Path) -> None:
    make = ["make", "--silent", "-C", str(REPO / "native"), f"BIN={programs}", "programs"]
    subprocess.run(make, check=True)
    cc = ["cc", "-O2", "-static", "-D_GNU_SOURCE"]
    here = Path(__file__).parent
    subprocess.run([*cc, str(here / "bare.c"), "-o", str(programs / "bare")], check=True)
    reporter = REPO / "tests/native/reporter.c"
    subprocess.run([*cc, str(reporter), "-o", str(BASE / "lower0/bin/reporter")], check=True)


def pss(pid: int) -> int:
    """KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure(count: int, idle: int) -> dict[str, float]:
    for name in ("lower0/bin", "lower1", "stage", "empty", "logs", "programs"):
        (BASE / name).mkdir(parents=True)
    programs = BASE / "programs"
    build(programs)
    shim = Shim(programs)
    floor: list[float] = []
    ours: list[float] = []
    for turn in range(max(1, count // BATCH)):
        floor += bare(programs, BATCH, idle)
        for number in range(BATCH):
            time.sleep(idle / 1000)
            ours.append(shim.run(turn * count + number))
    result = {"bare_us": statistics.median(floor), "shim_us": statistics.median(ours)}
    result["ratio"] = result["shim_us"] / result["bare_us"]
    result["budget_ratio"] = BUDGET
    result["shim_pss_kib"] = pss(shim.pid)
    result["pause_pss_kib"] = pss(int(Path(f"/proc/{shim.pid}/task/{shim.pid}/children").read_text().split()[0]))
    return result


def enter_own_world() -> None:
    """Again, in mount, PID and network namespaces of its own, with an empty /run."""
    if os.environ.get("NSRUN_BENCH_WORLD") != "1":
        os.environ["NSRUN_BENCH_WORLD"] = "1"
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        os.execvp("unshare", [*unshare, sys.executable, *sys.argv])
    native.mount("tmpfs", "/run", "tmpfs", 0, "mode=755")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--idle", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    enter_own_world()
    result = measure(arguments.count, arguments.idle)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"bare C program   {result['bare_us']:8.0f} µs (median of {arguments.count}, {arguments.idle} ms apart)")
    print(f"plan to exec     {result['shim_us']:8.0f} µs")
    print(f"ratio            {result['ratio']:8.2f}    (budget {BUDGET})")
    print(
        f"shim, pause      {result['shim_pss_kib']:5.0f}, {result['pause_pss_kib']:.0f} KiB PSS (budget 400 together)"
    )


if __name__ == "__main__":
    main()
