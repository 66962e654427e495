"""Random manifests, exits, failures, deaths, in any order; in the end the machine is what the manifests say."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nsrun.errors import ConflictError, ImageError, NetworkError, RuntimeFailure, VolumeError
from nsrun.model.container import RestartAction, RestartRule
from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import HttpGet, Lifecycle, Probe
from nsrun.model.running import CheckResult
from nsrun.model.status import Phase, Running, Terminated
from nsrun.supervisor.commanding import commanded
from nsrun.supervisor.control import Verb
from tests.contracts.fakes import FakeRun
from tests.unit.supervisor.world import Daemon, World, container, hook, pod, sidecar
from tests.waiting import fewer

INITS = ("exit 0", "sleep 3; exit 0", "sleep 2; exit 4")
HOOKS = (None, hook("exit 0"), hook("sleep 4; exit 0"), hook("exit 1"))
PROBES = (None, Probe(action=HttpGet(port=80), period_seconds=5, failure_threshold=2))
RULE = RestartRule(action=RestartAction.RESTART_ALL_CONTAINERS, exit_codes=(9,))
SCRIPTS = ("", "exit 0", "exit 3", "sleep 7; exit 0", "sleep 40; exit 9", "trap '' TERM; sleep 9999", "/nonexistent")
POINTS = {
    "attach": NetworkError("cannot attach"),
    "attached": NetworkError("cannot attach"),
    "detach": NetworkError("cannot detach"),
    "prepare volume": VolumeError("cannot prepare"),
    "remove volumes": VolumeError("cannot remove"),
    "sandbox document": RuntimeFailure("cannot start"),
    "sandbox started": RuntimeFailure("cannot start"),
    "start container a": RuntimeFailure("cannot start", reason="CreateContainerError"),
    "container rootfs": RuntimeFailure("cannot start", reason="CreateContainerError"),
    "remove container": RuntimeFailure("cannot remove"),
    "remove sandbox": RuntimeFailure("cannot remove"),
    "signal": RuntimeFailure("cannot signal"),
    "kill": RuntimeFailure("cannot kill"),
    "ensure busybox": ImageError("cannot pull"),
    "next attempt": ValueError("a bug"),
    "run in a": RuntimeFailure("cannot run"),
    "record": RuntimeFailure("cannot record"),
    "refresh": VolumeError("cannot refresh"),
    "network owners": NetworkError("cannot list"),
}


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    name = draw(st.sampled_from(["p", "q"]))
    scripts = draw(st.lists(st.sampled_from(SCRIPTS), min_size=1, max_size=2))
    policy, grace = draw(st.sampled_from(list(RestartPolicy))), draw(st.sampled_from([0, 1, 30]))
    containers = [container(c, script, volumes=["v"]) for c, script in zip("ab", scripts, strict=False)]
    if draw(st.booleans()):
        life = Lifecycle(post_start=draw(st.sampled_from(HOOKS)), pre_stop=draw(st.sampled_from(HOOKS)))
        probes: dict[str, Any] = {
            f"{kind}_probe": draw(st.sampled_from(PROBES)) for kind in ("startup", "liveness", "readiness")
        }
        containers[0] = container("a", scripts[0], volumes=["v"], lifecycle=life, **probes)
    if draw(st.booleans()):
        containers[-1] = replace(containers[-1], restart_policy=policy, restart_policy_rules=(RULE,))
    init = [container("i", draw(st.sampled_from(INITS)))] if draw(st.booleans()) else []
    if draw(st.booleans()):
        script = draw(st.sampled_from(SCRIPTS[:-1]))
        init.insert(draw(st.integers(0, len(init))), sidecar("s", script, startup_probe=draw(st.sampled_from(PROBES))))
    deadline = draw(st.sampled_from([None, None, 20, 500]))
    made = pod(
        name, *containers, policy=policy, grace=grace, volumes=["v"], init=init, active_deadline_seconds=deadline
    )
    uid = f"{name}-{hashlib.sha256(json.dumps(encode_pod(made)).encode()).hexdigest()[:12]}"
    return replace(made, metadata=replace(made.metadata, uid=uid))


def is_plain(wanted: Pod) -> bool:
    """Whether only its containers' programs decide how it goes."""
    hooked = any(c.lifecycle != Lifecycle() or c.startup_probe or c.liveness_probe for c in wanted.all_containers)
    ruled = any(c.restart_policy_rules for c in wanted.all_containers)
    return not (hooked or ruled or wanted.spec.init_containers)


class Machinery(RuleBasedStateMachine):
    """A world, a supervisor over it or none, and everything that can befall them."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.wanted: dict[str, Pod] = {}
        self.daemon: Daemon | None = None
        self.task: asyncio.Task[None] | None = None
        self.within(self.make_world())
        self.start(0)

    def within(self, work: Coroutine[Any, Any, None]) -> None:
        self.runner.run(work)

    async def make_world(self) -> None:
        self.world = World()
        self.world.manifests.say()

    # --- what befalls

    @rule(wanted=st.lists(pods(), max_size=3))
    def manifests_change(self, wanted: list[Pod]) -> None:
        self.wanted = {one.metadata.name: one for one in wanted}

        async def say() -> None:
            self.world.manifests.say(*self.wanted.values())
            await self.world.clock.settle()

        self.within(say())

    @rule(seconds=st.sampled_from([0.5, 2, 9, 31, 400]))
    def time_passes(self, seconds: float) -> None:
        self.within(self.world.clock.advance(seconds))

    @precondition(lambda self: bool(self.world.machine.live()))
    @rule(data=st.data(), code=st.sampled_from([0, 1, 137]))
    def a_container_ends(self, data: st.DataObject, code: int) -> None:
        run = data.draw(st.sampled_from(sorted(self.world.machine.live(), key=lambda r: r.pid)))

        async def end(run: FakeRun) -> None:
            self.world.machine.end(run, code=code)
            await self.world.clock.settle()

        self.within(end(run))

    @precondition(lambda self: any(one.sandbox for one in self.world.machine.pods.values()))
    @rule(data=st.data())
    def a_shim_dies(self, data: st.DataObject) -> None:
        living = sorted(uid for uid, one in self.world.machine.pods.items() if one.sandbox)
        uid = data.draw(st.sampled_from(living))

        async def die() -> None:
            self.world.machine.kill_shim(uid)
            await self.world.clock.settle()

        self.within(die())

    @rule(point=st.sampled_from(sorted(POINTS)), times=st.integers(1, 3))
    def a_step_will_fail(self, point: str, times: int) -> None:
        self.world.machine.failures[point] = [POINTS[point]] * times

    @rule(answer=st.booleans())
    def the_pods_answer_or_do_not(self, answer: bool) -> None:
        answers = self.world.machine.answers
        answers.clear()
        if answer:
            answers[80] = CheckResult(success=True)

    @precondition(lambda self: self.daemon is not None and bool(self.daemon.supervisor._workers))
    @rule(data=st.data())
    def a_pod_is_evicted(self, data: st.DataObject) -> None:
        assert self.daemon is not None
        workers = self.daemon.supervisor._workers
        uid = data.draw(st.sampled_from(sorted(workers)))

        async def evict() -> None:
            workers[uid].fail("Evicted", "the machine is full", grace=1)
            await self.world.clock.settle()

        self.within(evict())

    @precondition(lambda self: self.daemon is not None and bool(self.daemon.supervisor._workers))
    @rule(data=st.data(), verb=st.sampled_from(list(Verb)), grace=st.sampled_from([None, 0, 3]))
    def somebody_orders(self, data: st.DataObject, verb: Verb, grace: float | None) -> None:
        assert self.daemon is not None
        workers = self.daemon.supervisor._workers
        worker = workers[data.draw(st.sampled_from(sorted(workers)))]
        names = data.draw(st.lists(st.sampled_from(sorted(c.name for c in worker.facts.containers)), max_size=2))

        async def order() -> None:
            with contextlib.suppress(ConflictError):
                commanded(worker, verb, names, grace).look()
            await self.world.clock.settle()

        self.within(order())

    def start_what_is_stopped(self, daemon: Daemon) -> None:
        async def start() -> None:
            for worker in daemon.supervisor._workers.values():
                for name in [c.name for c in worker.facts.containers if c.hold is not None]:
                    with contextlib.suppress(ConflictError):
                        commanded(worker, Verb.START, [name], None)
            await self.world.clock.settle()

        self.within(start())

    @rule(seconds=st.sampled_from([0, 5]))
    def the_registry_is_slow(self, seconds: float) -> None:
        self.world.machine.pull_seconds = seconds

    @precondition(lambda self: self.daemon is not None)
    @rule()
    def the_supervisor_is_killed(self) -> None:
        self.kill()

    @rule(ends_at=st.integers(0, 60))
    def another_supervisor_starts(self, ends_at: int) -> None:
        self.kill()
        self.start(ends_at)

    @rule()
    def the_machine_reboots(self) -> None:
        self.kill()
        self.world.machine.reboot()
        self.start(0)

    def kill(self) -> None:
        if self.daemon is None or self.task is None:
            return
        daemon, task = self.daemon, self.task

        async def kill() -> None:
            daemon.life.over.set()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

        self.within(kill())
        self.daemon = self.task = None

    def start(self, ends_at: int) -> None:
        async def start() -> None:
            self.daemon = Daemon(self.world, ends_at=ends_at)
            self.task = asyncio.get_running_loop().create_task(self.daemon.run())
            await self.world.clock.settle()

        self.within(start())

    # --- what holds

    @invariant()
    def nothing_is_doubled_or_lost(self) -> None:
        if hasattr(self, "world"):
            assert self.world.machine.violations == []
            assert self.task is None or not self.task.done()

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.kill()
        self.world.machine.failures.clear()
        self.start(0)
        self.within(self.world.clock.advance(3000))
        assert self.daemon is not None
        self.start_what_is_stopped(self.daemon)
        self.within(self.world.clock.advance(3000))
        self.nothing_is_doubled_or_lost()
        self.check_convergence(self.daemon)
        self.within(self.take_down(self.daemon))
        assert self.world.machine.owners() == set()
        assert self.world.machine.live() == []
        self.runner.close()

    async def take_down(self, daemon: Daemon) -> None:
        async with asyncio.TaskGroup() as group:
            down = group.create_task(daemon.supervisor.down())
            await self.world.clock.advance(100)
            assert down.done()
        assert daemon.ended

    def check_convergence(self, daemon: Daemon) -> None:
        assert self.world.machine.owners() == {one.uid for one in self.wanted.values()}
        assert {shown.uid for shown, _ in daemon.board.pods()} == self.world.machine.owners()
        for wanted in self.wanted.values():
            shown = daemon.status(wanted)
            for status in (*shown.init_container_statuses, *shown.container_statuses):
                run = self.world.machine.run_of(wanted, status.name)
                assert run is not None or not isinstance(status.state, Running)
                if is_plain(wanted):
                    assert run is None or isinstance(status.state, Running)
                if is_plain(wanted) and wanted.spec.restart_policy is RestartPolicy.NEVER:
                    assert isinstance(status.state, Running | Terminated)
            if shown.phase in (Phase.SUCCEEDED, Phase.FAILED):
                assert self.world.machine.run_of(wanted, "s") is None
            if wanted.spec.active_deadline_seconds is not None:
                assert shown.phase in (Phase.SUCCEEDED, Phase.FAILED)
            elif is_plain(wanted) and wanted.spec.restart_policy is RestartPolicy.ALWAYS and not shown.reason:
                assert shown.phase is Phase.RUNNING
            records = [id.name for id in self.world.machine.runs(wanted.uid)]
            assert all(records.count(name) <= 2 for name in records), "one that runs or ended, and one before it"


TestMachinery = Machinery.TestCase
TestMachinery.settings = settings(
    max_examples=fewer(60), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
