"""Without cgroups: processes are known by the mark in their mount namespace, ended and counted by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.model.figures import Usage
from nsrun.model.running import ContainerId
from nsrun.runtime.cgroup_none import NoCgroups
from tests.system.cgroups.processes import is_gone
from tests.unit.runtime.pods import container, pod
from tests.waiting import eventually

pytestmark = pytest.mark.root

MIB, SECOND = 1 << 20, 1_000_000_000
WEB = ContainerId(uid="uid-1", name="web", attempt=0)
SHARED = replace(pod(), spec=replace(pod().spec, share_process_namespace=True))
MOUNT = 'mount --make-rprivate / && mount -t tmpfs "$1" /sys/fs/cgroup && shift && exec "$@"'

MANY = "setsid sleep 100 & (sleep 100 & kill -STOP $!) & for _ in $(seq 1000); do sleep 100 & done; wait"
BURN = "import time\nwhile time.process_time() < 1.2: pass"
CARELESS = """
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-I", "-S", "-c", "while True: pass"])
time.sleep(1000)
"""
HOLD = f"x = b'x' * ({64 * MIB}); import time; time.sleep(1000)"
# The first thread ends, as pthread_exit(3) does it, and another one lives on.
HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).syscall(60 if __import__("platform").machine() == "x86_64" else 93, 0)
"""
THREADS = """
import threading, time
for _ in range(9):
    threading.Thread(target=time.sleep, args=(1000,)).start()
time.sleep(1000)
"""


@pytest.fixture
def root() -> str:
    """A name that no other test has."""
    return f"nsrun-test-{os.getpid()}-{os.urandom(6).hex()}"


@pytest.fixture
def none(root: str) -> Iterator[NoCgroups]:
    cgroups = NoCgroups(root=root)
    yield cgroups
    for uid in cgroups.owners():
        cgroups.kill_pod(uid)


@contextmanager
def marked(path: str, *words: str) -> Iterator[int]:
    """A process as in a container: in a mount namespace that bears its cgroup's name."""
    command = ["unshare", "--mount", "sh", "-c", MOUNT, "sh", path, *words]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def path(cgroups: NoCgroups, id: ContainerId = WEB) -> str:
    """Of a container that does not have its process namespace for itself."""
    with cgroups.create_container(replace(SHARED, metadata=replace(SHARED.metadata, uid=id.uid)), id, container()) as c:
        assert (c.into, c.procs) == (None, ())
        return c.path


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def test_a_container_is_known_by_its_mark(none: NoCgroups, root: str) -> None:
    assert path(none) == f"{root}/poduid-1/web-0"
    with marked(path(none), "sleep", "1000") as pid:
        eventually(lambda: none.pids("uid-1") == {pid}, what="it is marked")
        assert none.owners() == {"uid-1"}
        assert NoCgroups(root=root).pids("uid-1") == {pid}, "after a restart too"
        assert NoCgroups(root=f"{root}x").owners() == set(), "another nsrun's are not ours"
        assert NoCgroups(root=root[:-1]).owners() == set()
        none.kill_container(WEB)
        eventually(lambda: is_gone(pid), what="its parent hears of it")
    assert none.owners() == set()


def test_nothing_outlives_a_kill_and_nobody_else_is_hit(none: NoCgroups) -> None:
    """Children that fork, orphans of a session of their own, a stopped one, one in a copy of the mount namespace."""
    other = replace(WEB, name="other")
    with (
        marked(path(none, other), "sleep", "1000") as neighbour,
        marked(path(none), "sh", "-c", f"unshare --mount sleep 1000 & {MANY}"),
    ):
        eventually(lambda: len(none.pids("uid-1")) > 20, what="many processes")
        none.kill_container(WEB)
        assert none.pids("uid-1") == {neighbour}
        assert not is_gone(neighbour)
        none.kill_pod("uid-1")
        assert none.pids("uid-1") == set()


def test_a_process_whose_first_thread_has_ended(none: NoCgroups) -> None:
    with marked(path(none), *python(HEADLESS)) as pid:
        eventually(lambda: "State:\tZ" in Path(f"/proc/{pid}/status").read_text(), what="its first thread has ended")
        assert len(os.listdir(f"/proc/{pid}/task")) == 2
        assert none.pids("uid-1") == {pid}
        none.end_container(WEB)
        assert none.pids("uid-1") == set()


def test_what_the_kernel_ends_is_not_looked_for(none: NoCgroups) -> None:
    """A container with a process namespace of its own: its end is its first process's."""
    none.create_container(pod(), WEB, container()).close()
    with marked(path(none, replace(WEB, attempt=1)).replace("web-1", "web-0"), "sleep", "1000") as pid:
        eventually(lambda: none.pids("uid-1") == {pid}, what="it is marked")
        none.end_container(WEB)
        assert none.pids("uid-1") == {pid}
        none.remove_container(WEB)
        none.end_container(WEB)
        assert none.pids("uid-1") == set()


def test_killing_what_is_not_there(none: NoCgroups) -> None:
    none.kill_pod("uid-1")
    none.kill_container(WEB)
    none.end_container(WEB)
    none.remove_container(WEB)
    none.remove_pod("uid-1")
    none.remove_root()
    assert not none.oom_killed(WEB)
    assert none.usage({"uid-1": [WEB]}) == {}


def usage(none: NoCgroups, *, brief: bool = False) -> tuple[Usage, Usage]:
    found = none.usage({WEB.uid: [WEB, replace(WEB, name="gone")], "uid-2": []}, brief=brief)
    assert set(found) == {WEB.uid}
    return found[WEB.uid].whole, found[WEB.uid].containers[WEB]


def nanoseconds(of: Usage) -> int:
    assert of.cpu is not None
    return of.cpu.usage


def test_a_second_of_processor_time(none: NoCgroups) -> None:
    with marked(path(none), "sh", "-c", '"$@"; sleep 1000', "sh", *python(BURN)):
        used = "it has used a second, the shell waited for it, and sleeps"
        eventually(lambda: len(none.pids("uid-1")) == 2 and nanoseconds(usage(none)[1]) >= SECOND, what=used)
        whole, own = usage(none)
        assert SECOND <= nanoseconds(own) <= 3 * SECOND
        assert nanoseconds(whole) >= SECOND
        assert nanoseconds(none.whole_usage()) >= SECOND


def test_a_counter_does_not_fall_when_nobody_waits(none: NoCgroups) -> None:
    """Its parent ignores the ends of its children, and so their times go with them."""
    with marked(path(none), *python(CARELESS)) as first:
        eventually(lambda: bool(none.pids("uid-1")) and nanoseconds(usage(none)[1]) >= SECOND // 2, what="it was used")
        before = nanoseconds(usage(none)[1])
        (burning,) = none.pids("uid-1") - {first}
        os.kill(burning, signal.SIGKILL)
        eventually(lambda: none.pids("uid-1") == {first}, what="it is gone")
        assert nanoseconds(usage(none)[1]) >= before


def test_memory_and_what_only_a_cgroup_knows(none: NoCgroups) -> None:
    with marked(path(none), *python(HOLD)):

        def held() -> int:
            memory = usage(none)[1].memory if none.pids("uid-1") else None
            return memory.rss if memory is not None else 0

        eventually(lambda: held() >= 64 * MIB, what="it holds 64 MiB")
        whole, own = (used.memory for used in usage(none))
        assert own is not None
        assert whole is not None
        assert 64 * MIB <= own.rss <= own.usage <= 96 * MIB
        assert own.working_set == own.usage
        assert (own.cache, own.inactive_file, own.kills, own.highest, own.kernel) == (None, None, None, None, None)
        assert whole.usage >= 64 * MIB


def test_processes_and_threads(none: NoCgroups) -> None:
    with marked(path(none), *python(THREADS)):
        eventually(lambda: bool(none.pids("uid-1")) and usage(none)[1].threads == 10, what="it has ten threads")
        whole, own = usage(none)
        assert (own.processes, own.threads_limit, whole.threads) == (1, None, 10)
        assert (usage(none, brief=True)[1].threads, own.cpu_pressure, own.devices) == (None, None, ())


def test_what_cannot_be_enforced_is_told() -> None:
    none = NoCgroups(root="r", pids_limit=10)
    web = container(requests={"cpu": 100}, limits={"cpu": 500, "memory": MIB * 1000, "hugepages-2Mi": 4 * MIB * 1000})
    with none.create_container(pod(web), WEB, None) as sandbox, none.create_container(pod(web), WEB, web) as made:
        why = "this machine lets nsrun make no cgroups"
        assert sandbox.warnings == (f"cannot enforce the limit of processes of the pod: {why}",)
        assert made.warnings == tuple(
            f'cannot enforce the {what} of container "web": {why}'
            for what in ("cpu request", "cpu limit", "memory limit", "limit of huge pages of 2MB")
        )
    with NoCgroups(root="r").create_container(pod(), WEB, container()) as made:
        assert made.warnings == ()
