"""What every ``Runtime`` keeps to: the supervisor's safety rests on each of these lines."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio

from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.model.encode import encode_pod
from nsrun.model.image import Image
from nsrun.model.pod import Pod
from nsrun.supervisor.ports import (
    AdoptedPod,
    Attachment,
    Command,
    ContainerExit,
    ContainerId,
    ContainerRequest,
    Exit,
    ExitReason,
    RunningContainer,
    Runtime,
    SandboxExit,
    SandboxInfo,
    Session,
    SessionRequest,
    TerminalSize,
)
from nsrun.support.fds import Fd
from tests.contracts.fakes import FakeMachine, FakeNetwork, FakeRuntime, Life, fake_image
from tests.contracts.virtualclock import VirtualClock
from tests.system.runtime.world import WITHOUT, World, unpack_busybox, without_cgroups
from tests.unit.supervisor.world import container, pod
from tests.waiting import PATIENCE, eventually_async

FOREVER = "trap 'exit 7' TERM; while :; do read -t 1 x < /dev/zero; done"
STUBBORN = "trap '' TERM; while :; do read -t 1 x < /dev/zero; done"


class Machine(Protocol):
    """What stands below a runtime, and outlives it."""

    @property
    def runtime(self) -> Runtime: ...
    async def attach(self, pod: Pod) -> Attachment: ...
    def image(self) -> Image: ...
    async def restart(self) -> Sequence[AdoptedPod]:
        """The supervisor's end, and the next one's beginning."""
        ...

    def kill_shim(self, sandbox: SandboxInfo) -> None: ...
    async def pass_time(self, seconds: float) -> None:
        """Lets time pass where it does not by itself."""
        ...


class FakeBelow:
    def __init__(self) -> None:
        self.machine = FakeMachine(VirtualClock())
        self._begin()

    def _begin(self) -> None:
        self.life = Life(self.machine)
        self.network = FakeNetwork(self.machine, self.life)
        self.runtime: Runtime = FakeRuntime(self.machine, self.life)

    async def attach(self, pod: Pod) -> Attachment:
        return await self.network.attach(pod)

    def image(self) -> Image:
        return fake_image("busybox")

    async def restart(self) -> Sequence[AdoptedPod]:
        self.life.over.set()
        self._begin()
        return await self.runtime.adopt()

    def kill_shim(self, sandbox: SandboxInfo) -> None:
        self.machine.kill_shim(sandbox.uid)

    async def pass_time(self, seconds: float) -> None:
        await self.machine.clock.advance(seconds)


class RealBelow:
    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def runtime(self) -> Runtime:
        return self.world.engine

    async def attach(self, pod: Pod) -> Attachment:
        return self.world.attachment(pod)

    def image(self) -> Image:
        return self.world.image()

    async def restart(self) -> Sequence[AdoptedPod]:
        return await self.world.restart()

    def kill_shim(self, sandbox: SandboxInfo) -> None:
        os.kill(sandbox.shim_pid, signal.SIGKILL)

    async def pass_time(self, seconds: float) -> None:
        pass


@pytest.fixture(scope="module")
def busybox(request: pytest.FixtureRequest) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir="/run", prefix="busybox-"))
    path.chmod(0o755)
    unpack_busybox(request.getfixturevalue("demo_images"), path)
    yield path
    shutil.rmtree(path)


class Bench:
    """A machine and shorthands."""

    def __init__(self, below: Machine) -> None:
        self.below = below
        self.told: list[ContainerExit | SandboxExit] = []
        self._exits = below.runtime.exits()

    @property
    def runtime(self) -> Runtime:
        return self.below.runtime

    async def sandbox(self, pod: Pod, document: Mapping[str, object] | None = None) -> SandboxInfo:
        attachment = await self.below.attach(pod)
        return await self.runtime.start_sandbox(pod, attachment, document or encode_pod(pod))

    async def request(self, pod: Pod, name: str = "main", attempt: int = 0) -> ContainerRequest:
        return ContainerRequest(
            id=ContainerId(uid=pod.uid, name=name, attempt=attempt),
            pod=pod,
            container=pod.container(name),
            image=self.below.image(),
            attachment=await self.below.attach(pod),
        )

    async def start(self, pod: Pod, name: str = "main", attempt: int = 0) -> RunningContainer:
        await self.sandbox(pod)
        return await self.runtime.start_container(await self.request(pod, name, attempt))

    async def restart(self) -> Sequence[AdoptedPod]:
        found = await self.below.restart()
        self.told, self._exits = [], self.below.runtime.exits()
        return found

    async def exit(self, id: ContainerId) -> Exit:
        async with asyncio.timeout(20 * PATIENCE):
            while True:
                for told in self.told:
                    if isinstance(told, ContainerExit) and told.id == id:
                        return told.exit
                self.told.append(await anext(self._exits))

    async def sandbox_exit(self, uid: str) -> SandboxExit:
        async with asyncio.timeout(20 * PATIENCE):
            while True:
                for told in self.told:
                    if isinstance(told, SandboxExit) and told.uid == uid:
                        return told
                self.told.append(await anext(self._exits))


@pytest_asyncio.fixture(params=["fake", *(pytest.param(name, marks=pytest.mark.root) for name in ("real", WITHOUT))])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "fake":
        yield Bench(FakeBelow())
        return
    root = Path(tempfile.mkdtemp(dir="/run", prefix="contract-"))
    names = (request.getfixturevalue(name) for name in ("cgroup_root", "busybox"))
    facts = without_cgroups() if request.param == WITHOUT else None
    world = World(root=root, cgroup_root=next(names), busybox=next(names), facts=facts)
    yield Bench(RealBelow(world))
    await world.close()
    world.cgroups.close()
    shutil.rmtree(root)


def one(script: str, *more: str) -> Pod:
    """A pod whose container ``main`` runs a script; ``side1`` … run ``more``."""
    return pod("web", container("main", script), *(container(f"side{n}", m) for n, m in enumerate(more, 1)))


# --- starting


async def test_a_sandbox_is_started_once(bench: Bench) -> None:
    web = one(FOREVER)
    assert await bench.sandbox(web) == await bench.sandbox(web)


async def test_a_run_is_started_once(bench: Bench) -> None:
    web = one(FOREVER)
    first = await bench.start(web)
    assert first.id == ContainerId(uid=web.uid, name="main", attempt=0)
    assert await bench.runtime.start_container(await bench.request(web)) == first


async def test_containers_start_side_by_side(bench: Bench) -> None:
    web = one("exit 3", "exit 4", "exit 5")
    await bench.sandbox(web)
    requests = [await bench.request(web, c.name) for c in web.spec.containers]
    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(bench.runtime.start_container(request))
    assert [(await bench.exit(request.id)).code for request in requests] == [3, 4, 5]


async def test_a_program_that_is_not_there_is_a_launch_error(bench: Bench) -> None:
    web = pod("web", container("main"))
    main = web.spec.containers[0]
    web = replace(web, spec=replace(web.spec, containers=(replace(main, command=("/nonexistent",)),)))
    with pytest.raises(LaunchError) as caught:
        await bench.start(web)
    assert caught.value.reason == "StartError"
    assert (await bench.restart())[0].containers == (), "nothing of it is left"


# --- ends


async def test_an_exit_is_told_with_code_and_times(bench: Bench) -> None:
    started = await bench.start(one("exit 3"))
    end = await bench.exit(started.id)
    assert (end.code, end.signal, end.reason) == (3, 0, ExitReason.ERROR)
    assert end.started_at <= end.finished_at
    assert end.started_at == pytest.approx(started.started_at, abs=1)


async def test_success_is_completed(bench: Bench) -> None:
    started = await bench.start(one("exit 0"))
    end = await bench.exit(started.id)
    assert (end.code, end.reason) == (0, ExitReason.COMPLETED)


async def test_a_container_that_is_asked_ends_as_it_likes(bench: Bench) -> None:
    started = await bench.start(one(FOREVER))
    assert bench.runtime.stop_signal(started.id) == signal.SIGTERM
    await asked(bench, started.id)
    assert (await bench.exit(started.id)).code == 7


async def asked(bench: Bench, id: ContainerId) -> None:
    """Until the shell has set its trap, a signal means nothing to it: PID 1 has no default actions."""
    await bench.runtime.signal(id, signal.SIGTERM)
    if isinstance(bench.below, RealBelow):
        while not bench.told:
            try:
                async with asyncio.timeout(0.2):
                    bench.told.append(await anext(bench._exits))
            except TimeoutError:
                bench._exits = bench.runtime.exits()
                await bench.runtime.signal(id, signal.SIGTERM)


async def test_a_killed_container_is_told_as_killed(bench: Bench) -> None:
    started = await bench.start(one(STUBBORN))
    await bench.runtime.kill(started.id)
    end = await bench.exit(started.id)
    assert (end.code, end.signal, end.reason) == (137, 9, ExitReason.ERROR)


async def test_what_has_ended_can_be_signalled_and_killed(bench: Bench) -> None:
    started = await bench.start(one("exit 0"))
    await bench.exit(started.id)
    await bench.runtime.signal(started.id, signal.SIGTERM)
    await bench.runtime.kill(started.id)


async def test_each_end_is_told_once(bench: Bench) -> None:
    web = one("exit 3", "exit 4")
    first = await bench.start(web)
    second = await bench.start(web, "side1")
    await bench.exit(first.id)
    await bench.exit(second.id)
    assert len(bench.told) == 2


# --- commands


def shell(script: str, timeout: float | None = None) -> Command:
    return Command(arguments=("/bin/sh", "-c", script), timeout=timeout)


async def test_a_command_tells_how_it_ended_and_what_it_said(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    result = await bench.runtime.run(started.id, shell("echo said; exit 3"))
    assert (result.code, result.output, result.timed_out) == (3, b"said\n", False)
    assert (await bench.runtime.run(started.id, shell("exit 0"))).code == 0


async def test_a_command_that_takes_too_long_is_killed(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(bench.runtime.run(started.id, shell("sleep 9999", timeout=0.2)))
        await bench.below.pass_time(1.0)
    assert running.result().timed_out


async def test_a_command_can_be_given_up(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    running = asyncio.get_running_loop().create_task(bench.runtime.run(started.id, shell("sleep 9999")))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await bench.runtime.run(started.id, shell("exit 0"))).code == 0


async def test_nothing_runs_in_what_has_ended(bench: Bench) -> None:
    started = await bench.start(one("exit 1"))
    await bench.exit(started.id)
    with pytest.raises(RuntimeFailure):
        await bench.runtime.run(started.id, shell("exit 0"))


async def test_a_command_that_is_not_there_cannot_be_started(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    with pytest.raises(RuntimeFailure):
        await bench.runtime.run(started.id, Command(arguments=("/nonexistent",)))


# --- sessions


async def read_to_end(fd: Fd | None) -> bytes:
    """Until nobody has the other end; of a terminal that is EIO."""
    assert fd is not None
    loop, said, readable = asyncio.get_running_loop(), b"", asyncio.Event()
    loop.add_reader(fd.fileno(), readable.set)
    try:
        async with asyncio.timeout(20 * PATIENCE):
            while True:
                await readable.wait()
                readable.clear()
                try:
                    part = os.read(fd.fileno(), 65536)
                except BlockingIOError:
                    continue
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    return said
                if not part:
                    return said
                said += part
    finally:
        loop.remove_reader(fd.fileno())


async def read_something(fd: Fd | None) -> bytes:
    assert fd is not None
    await eventually_async(lambda: bool(select.select([fd], [], [], 0)[0]))
    return os.read(fd.fileno(), 65536)


def write_all(fd: Fd | None, data: bytes) -> None:
    assert fd is not None
    assert os.write(fd.fileno(), data) == len(data)


def spoken(script: str, **fields: Any) -> SessionRequest:
    return SessionRequest(command=("/bin/sh", "-c", script), **fields)


@asynccontextmanager
async def session(bench: Bench, id: ContainerId, request: SessionRequest) -> AsyncIterator[Session]:
    opened = await bench.runtime.open_session(id, request)
    try:
        yield opened
    finally:
        await opened.close()
        await opened.close()


async def test_a_session_has_the_streams_that_were_asked_for(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    async with session(bench, started.id, spoken("echo said; exit 3")) as opened:
        assert opened.stdin is None
        assert await read_to_end(opened.stdout) == b"said\n"
        assert await read_to_end(opened.stderr) == b""
        assert await opened.wait() == 3
        assert await opened.wait() == 3, "whoever asks"
    async with session(bench, started.id, spoken("echo said >&2; exit 0", stdout=False)) as opened:
        assert opened.stdout is None
        assert await read_to_end(opened.stderr) == b"said\n"
        assert await opened.wait() == 0


async def test_what_is_said_comes_back_and_the_end_is_heard(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    async with session(bench, started.id, spoken("cat; exit 4", stdin=True)) as opened:
        write_all(opened.stdin, b"hello\n")
        opened.close_stdin()
        opened.close_stdin()
        assert await read_to_end(opened.stdout) == b"hello\n"
        assert await opened.wait() == 4


async def test_a_terminal_is_one_stream_and_has_a_size(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    size = TerminalSize(columns=99, rows=33)
    async with session(bench, started.id, spoken("cat; exit 5", stdin=True, terminal=True, size=size)) as opened:
        assert opened.stderr is None
        assert opened.stdout is not None
        assert os.get_terminal_size(opened.stdout.fileno()) == (99, 33)
        await opened.resize(TerminalSize(columns=10, rows=20))
        assert os.get_terminal_size(opened.stdout.fileno()) == (10, 20)
        write_all(opened.stdin, b"hello\n")
        opened.close_stdin()
        assert await opened.wait() == 5
        assert await read_to_end(opened.stdout) == b"hello\r\nhello\r\n", "its echo, and its copy"
        await opened.resize(TerminalSize(columns=1, rows=1))


async def test_a_session_is_signalled(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    async with session(bench, started.id, spoken("exec sleep 9999")) as opened:
        await opened.signal(signal.SIGINT)
        assert await opened.wait() == 130
        await opened.signal(signal.SIGINT)


async def test_a_command_ends_with_its_session(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    async with session(bench, started.id, spoken("sleep 9999")) as opened:
        await opened.close()
        assert await opened.wait() == 137


async def test_a_command_ends_with_its_container(bench: Bench) -> None:
    started = await bench.start(one(STUBBORN))
    async with session(bench, started.id, spoken("sleep 9999")) as opened:
        await bench.runtime.kill(started.id)
        assert await opened.wait() == 137


def attachable(script: str, **fields: Any) -> Pod:
    web = one(script)
    return replace(web, spec=replace(web.spec, containers=(replace(web.spec.containers[0], **fields),)))


ATTACH = SessionRequest(command=None, stdin=True)


async def test_attached_to_what_runs(bench: Bench) -> None:
    started = await bench.start(attachable("cat; sleep 9999", stdin=True))
    async with session(bench, started.id, ATTACH) as opened:
        write_all(opened.stdin, b"hello\n")
        assert await read_something(opened.stdout) == b"hello\n"
        await bench.runtime.kill(started.id)
        assert await opened.wait() == 137
        assert await read_to_end(opened.stdout) == b""


async def test_who_lets_go_of_a_container_leaves_it_running(bench: Bench) -> None:
    started = await bench.start(attachable("cat; sleep 9999", stdin=True))
    async with session(bench, started.id, ATTACH) as opened:
        opened.close_stdin()
    async with session(bench, started.id, ATTACH) as opened:
        write_all(opened.stdin, b"again\n")
        assert await read_something(opened.stdout) == b"again\n"


async def test_what_reads_nothing_is_given_nothing(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    async with session(bench, started.id, ATTACH) as opened:
        assert opened.stdin is None
        assert opened.stdout is not None


async def test_no_session_in_what_has_ended(bench: Bench) -> None:
    started = await bench.start(one("exit 1"))
    await bench.exit(started.id)
    for request in (spoken("exit 0"), ATTACH):
        with pytest.raises(RuntimeFailure):
            await bench.runtime.open_session(started.id, request)


async def test_no_session_of_a_command_that_is_not_there(bench: Bench) -> None:
    started = await bench.start(one("sleep 9999"))
    for terminal in (False, True):
        with pytest.raises(RuntimeFailure):
            await bench.runtime.open_session(started.id, SessionRequest(command=("/nonexistent",), terminal=terminal))


async def test_a_session_ends_with_its_shim(bench: Bench) -> None:
    web = one(STUBBORN)
    sandbox = await bench.sandbox(web)
    started = await bench.start(web)
    async with session(bench, started.id, spoken("sleep 9999")) as opened:
        bench.below.kill_shim(sandbox)
        with pytest.raises(RuntimeFailure):
            await opened.wait()


# --- usage


async def test_usage_is_told_by_container(bench: Bench) -> None:
    web = one("sleep 9999", "sleep 9999")
    await bench.start(web)
    await bench.runtime.start_container(await bench.request(web, "side1"))
    usage = await bench.runtime.usage(web.uid)
    assert set(usage) == {"main", "side1"}
    assert all(used >= 0 for used in usage.values())
    assert await bench.runtime.usage("nobody") == {}
    disk = await bench.runtime.disk(web.uid)
    assert {name: use.root.bytes + use.logs.bytes for name, use in disk.items()} == usage
    assert await bench.runtime.disk("nobody") == {}
    space = await bench.runtime.filesystem()
    assert 0 < space.available <= space.capacity
    assert 0 < space.used <= space.capacity


async def test_figures_are_those_of_what_runs(bench: Bench) -> None:
    web = one("sleep 9999", STUBBORN, "exit 3")
    started = await bench.start(web)
    side = await bench.start(web, "side1")
    await bench.exit((await bench.start(web, "side2")).id)
    figures = await bench.runtime.figures()
    assert set(figures.pods) == {web.uid}
    seen = figures.pods[web.uid]
    assert set(seen.containers) == {"main", "side1"}
    assert seen.containers["main"].id == started.id
    assert seen.containers["main"].hash == started.hash
    assert seen.containers["side1"].started_at == side.started_at
    for usage in (seen.usage, *(found.usage for found in seen.containers.values())):
        assert usage.cpu is not None
        assert usage.memory is not None
        assert usage.memory.usage >= usage.memory.working_set >= 0
    assert figures.machine.usage.cpu is not None
    assert figures.machine.memory_total > 0
    await bench.restart()
    adopted = (await bench.runtime.figures()).pods[web.uid]
    assert adopted.started_at == seen.started_at
    assert set(adopted.containers) == {"main", "side1"}
    assert (adopted.containers["main"].hash, adopted.containers["main"].id) == (started.hash, started.id)
    before, after = seen.containers["main"].usage.cpu, adopted.containers["main"].usage.cpu
    assert before is not None
    assert after is not None
    assert after.usage >= before.usage


async def test_counters_only_grow(bench: Bench) -> None:
    web = one("while :; do :; done")
    await bench.start(web)
    before = await cpu_time(bench, web)
    await bench.below.pass_time(1.0)
    await eventually_cpu_time(bench, web, more_than=before)


async def eventually_cpu_time(bench: Bench, pod: Pod, *, more_than: int) -> None:
    async with asyncio.timeout(20 * PATIENCE):
        while await cpu_time(bench, pod) <= more_than:
            pass


async def cpu_time(bench: Bench, pod: Pod) -> int:
    """Briefly looked at: nothing but processor time and memory."""
    seen = (await bench.runtime.figures(brief=True)).pods[pod.uid].containers["main"].usage
    assert seen.cpu is not None
    assert (seen.devices, seen.processes) == ((), None)
    return seen.cpu.usage


async def test_nothing_runs_nothing_is_used(bench: Bench) -> None:
    web = one("sleep 9999")
    await bench.start(web)
    await bench.runtime.remove_sandbox(None, web.uid)
    assert (await bench.runtime.figures()).pods == {}


# --- numbers


async def test_attempts_are_numbered_on(bench: Bench) -> None:
    web = one("exit 1")
    assert await bench.runtime.next_attempt(web, "main") == 0
    started = await bench.start(web)
    assert await bench.runtime.next_attempt(web, "main") == 1
    await bench.exit(started.id)
    await bench.runtime.remove_container(started.id)
    assert await bench.runtime.next_attempt(web, "main") == 1, "its log tells"
    await bench.runtime.remove_sandbox(None, web.uid)
    assert await bench.runtime.next_attempt(web, "main") == 1, "its log tells"
    assert (web.name, web.uid) in await bench.runtime.logged()
    await bench.runtime.remove_sandbox(web.name, web.uid)
    assert (web.name, web.uid) not in await bench.runtime.logged()
    assert await bench.runtime.next_attempt(web, "main") == 0, "the pod is gone, and all its logs"


# --- documents


async def test_a_document_is_replaced_and_found_again(bench: Bench) -> None:
    web = one("sleep 9999")
    await bench.start(web)
    document = {"kind": "Pod", "metadata": {"uid": web.uid}, "status": {"reason": "Evicted"}}
    await bench.runtime.record(web.uid, document)
    (found,) = await bench.restart()
    assert found.document == document
    await bench.runtime.record("nobody", document)
    assert [pod.uid for pod in await bench.restart()] == [web.uid]


# --- removal


async def test_an_ended_run_is_removed_and_can_be_again(bench: Bench) -> None:
    web = one("exit 1")
    started = await bench.start(web)
    await bench.exit(started.id)
    await bench.runtime.remove_container(started.id)
    await bench.runtime.remove_container(started.id)
    assert (await bench.restart())[0].containers == ()


async def test_a_sandbox_is_removed_with_all_that_runs_in_it(bench: Bench) -> None:
    web = one(STUBBORN, STUBBORN)
    await bench.start(web)
    await bench.start(web, "side1")
    await bench.runtime.remove_sandbox(web.name, web.uid)
    await bench.runtime.remove_sandbox(web.name, web.uid)
    await bench.runtime.remove_sandbox(None, "never-heard-of")
    assert await bench.restart() == []


async def test_after_its_removal_a_pod_can_be_started_afresh(bench: Bench) -> None:
    web = one(STUBBORN)
    before = await bench.start(web)
    await bench.runtime.remove_sandbox(None, web.uid)
    after = await bench.start(web, attempt=1)
    assert after.pid != before.pid
    assert [a.running.id.attempt for a in (await bench.restart())[0].containers] == [1]


# --- the supervisor's death


async def test_what_runs_is_adopted_as_it_is(bench: Bench) -> None:
    web = one(STUBBORN)
    document = encode_pod(web)
    sandbox = await bench.sandbox(web, document)
    started = await bench.start(web)
    (found,) = await bench.restart()
    assert found.uid == web.uid
    assert found.document == document
    assert found.sandbox is not None
    assert (found.sandbox.shim_pid, found.sandbox.pause_pid) == (sandbox.shim_pid, sandbox.pause_pid)
    (adopted,) = found.containers
    assert adopted.exit is None
    assert (adopted.running.id, adopted.running.pid) == (started.id, started.pid)
    assert adopted.running.hash == started.hash
    assert adopted.image_ref == "docker.io/library/busybox:latest"
    assert adopted.image_digest == bench.below.image().digest


async def test_an_adopted_run_can_be_ended_and_its_end_is_told(bench: Bench) -> None:
    started = await bench.start(one(STUBBORN))
    await bench.restart()
    await bench.runtime.kill(started.id)
    assert (await bench.exit(started.id)).code == 137


async def test_an_exit_that_nobody_saw_is_known(bench: Bench) -> None:
    web = one("exit 42")
    started = await bench.start(web)
    await bench.exit(started.id)
    for _ in range(2):
        (found,) = await bench.restart()
        (adopted,) = found.containers
        assert adopted.exit is not None
        assert (adopted.exit.code, adopted.exit.reason) == (42, ExitReason.ERROR)


async def test_a_sandbox_is_not_started_again_after_adoption(bench: Bench) -> None:
    web = one(STUBBORN)
    before = await bench.sandbox(web)
    await bench.restart()
    after = await bench.sandbox(web)
    assert after.shim_pid == before.shim_pid


# --- the sandbox's death


def alive(pid: int) -> bool:
    """A process whose parent died is nobody's here: it may stay a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def test_a_dead_shim_is_told_and_everything_in_the_pod_is_dead(bench: Bench) -> None:
    web = one(STUBBORN)
    sandbox = await bench.sandbox(web)
    started = await bench.start(web)
    bench.below.kill_shim(sandbox)
    assert (await bench.sandbox_exit(web.uid)).message
    if isinstance(bench.below, RealBelow):
        await eventually_async(lambda: not alive(started.pid))
    await bench.runtime.remove_sandbox(None, web.uid)
    again = await bench.start(web, attempt=1)
    assert again.id.attempt == 1


async def test_a_shim_that_died_unseen_is_found_dead(bench: Bench) -> None:
    web = one(STUBBORN, "exit 5")
    sandbox = await bench.sandbox(web)
    started = await bench.start(web)
    ended = await bench.start(web, "side1")
    await bench.exit(ended.id)
    bench.below.kill_shim(sandbox)
    await bench.sandbox_exit(web.uid)
    (found,) = await bench.restart()
    assert found.sandbox is None
    exits = {adopted.running.id: adopted.exit for adopted in found.containers}
    lost, known = exits[started.id], exits[ended.id]
    assert lost is not None
    assert (lost.code, lost.reason) == (137, ExitReason.UNKNOWN)
    assert known is not None
    assert known.code == 5
