"""The supervisor over an imagined machine: what users see happen. Time is the test's own."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from nsrun.errors import ImageError, NetworkError, NsrunError, RuntimeFailure, VolumeError
from nsrun.model.container import PullPolicy
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.running import SandboxExit
from nsrun.model.status import Event, Phase, PodStatus, Running, Terminated, Waiting
from nsrun.model.update import MANIFEST_ANNOTATION, SourceUpdate
from nsrun.supervisor import worker
from nsrun.supervisor.admission import Admission
from nsrun.supervisor.status import pod_status
from nsrun.supervisor.supervisor import SupervisorSettings
from tests.contracts.fakes import FakePod, Program, fake_image
from tests.unit.supervisor.world import Daemon, World, container, pod

ALWAYS, ON_FAILURE, NEVER = RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE, RestartPolicy.NEVER


def waiting(daemon: Daemon, of: Pod, name: str = "main") -> Waiting:
    state = daemon.container(of, name).state
    assert isinstance(state, Waiting)
    return state


# --- a pod's way


async def test_a_pod_is_started_and_removed() -> None:
    world = World()
    web = pod("web", container("main", volumes=["logs"]), container("side"), volumes=["logs"])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        status = daemon.status(web)
        assert status.phase is Phase.RUNNING
        assert (status.pod_ip, status.host_ip) == ("10.99.0.2", "192.0.2.1")
        assert all(isinstance(c.state, Running) for c in status.container_statuses)
        world.manifests.say()
        await world.clock.settle()
        assert daemon.board.pods() == ()
        assert daemon.reasons(web) == [
            *("Pulling", "Pulling", "Pulled", "Pulled"),
            *("Created", "Started", "Created", "Started", "Ready"),
            *("Killing", "Killing", "Removed"),
        ]
    assert world.machine.owners() == set()
    assert world.machine.violations == []


async def test_images_volumes_and_network_do_not_wait_for_each_other() -> None:
    world = World()
    world.manifests.say(pod("web", container("main", volumes=["v"]), volumes=["v"]))
    async with world.daemon():
        calls = world.machine.calls
        first = {calls.index(what) for what in ("attach", "prepare", "ensure busybox")}
        assert max(first) < calls.index("attached")


async def test_a_slow_image_does_not_hold_the_other_container() -> None:
    world = World()
    world.machine.images["quick"] = fake_image("quick")
    world.machine.pull_seconds = 60
    web = pod("web", container("a", image="slow"), container("b", image="quick"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        assert waiting(daemon, web, "a").reason == "ContainerCreating"
        assert isinstance(daemon.container(web, "b").state, Running)
        assert daemon.status(web).phase is Phase.PENDING
        await world.clock.advance(60)
        assert daemon.status(web).phase is Phase.RUNNING


async def test_an_image_that_is_there_is_said_to_be() -> None:
    world = World()
    world.machine.images["busybox"] = fake_image("busybox")
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        said = [e.message for e in daemon.board.happened if e.reason == "Pulled"]
        assert said == ['Container image "busybox" already present on machine']


# --- restarts


@pytest.mark.parametrize(
    ("policy", "code", "phase", "runs"),
    [
        (ALWAYS, 0, Phase.RUNNING, 2),
        (ALWAYS, 1, Phase.RUNNING, 2),
        (ON_FAILURE, 0, Phase.SUCCEEDED, 1),
        (ON_FAILURE, 1, Phase.RUNNING, 2),
        (NEVER, 0, Phase.SUCCEEDED, 1),
        (NEVER, 1, Phase.FAILED, 1),
        (NEVER, 137, Phase.FAILED, 1),
    ],
)
async def test_restart_policies(policy: RestartPolicy, code: int, phase: Phase, runs: int) -> None:
    world = World()
    job = pod("job", policy=policy)
    world.machine.scripts["job", "main"] = [Program(seconds=5, code=code), Program()]
    world.manifests.say(job)
    async with world.daemon() as daemon:
        await world.clock.advance(60)
        status = daemon.container(job)
        assert daemon.status(job).phase is phase
        assert world.machine.processes["uid-job", "main"] == runs
        assert status.restart_count == runs - 1
        ended = status.state if runs == 1 else status.last_state
        assert isinstance(ended, Terminated)
        assert ended.exit_code == code
        assert ended.finished_at - ended.started_at == 5


async def test_a_crash_loop_backs_off_as_the_kubelet_does() -> None:
    world = World()
    job = pod("job")
    world.machine.scripts["job", "main"] = [Program(seconds=1, code=1)]
    world.manifests.say(job)
    async with world.daemon() as daemon:
        starts: list[float] = []
        for _ in range(1500):
            number = world.machine.processes["uid-job", "main"]
            if number > len(starts):
                starts.append(world.clock.now())
            await world.clock.advance(1)
        assert [b - a for a, b in pairwise(starts)][:8] == [1, 11, 21, 41, 81, 161, 301, 301]
        state = waiting(daemon, job)
        assert state.reason == "CrashLoopBackOff"
        assert state.message == "back-off 5m0s restarting failed container=main pod=job_default(uid-job)"
        last = daemon.container(job).last_state
        assert last is not None
        assert last.exit_code == 1
        assert daemon.status(job).phase is Phase.RUNNING
        assert "BackOff" in daemon.reasons(job)
        kept = world.machine.pods["uid-job"].runs
        assert len(kept) == 1, "one dead instance is kept, and no more"


async def test_a_crash_loop_goes_on_where_it_was_after_a_restart_of_the_supervisor() -> None:
    world = World()
    job = pod("job")
    world.machine.scripts["job", "main"] = [Program(seconds=1, code=1)]
    world.manifests.say(job)
    async with world.daemon():
        await world.clock.advance(60)
    async with world.daemon() as daemon:
        assert waiting(daemon, job).message.startswith("back-off 40s ")
        assert daemon.container(job).restart_count == 3


async def test_removal_during_backoff_is_at_once() -> None:
    world = World()
    job = pod("job")
    world.machine.scripts["job", "main"] = [Program(seconds=1, code=1)]
    world.manifests.say(job)
    async with world.daemon() as daemon:
        await world.clock.advance(20)
        assert waiting(daemon, job).reason == "CrashLoopBackOff"
        world.manifests.say()
        await world.clock.settle()
        assert world.machine.owners() == set()


# --- what cannot be started


async def test_an_image_that_cannot_be_pulled_is_tried_again_later_and_later() -> None:
    world = World()
    world.machine.registry["busybox"] = ImageError("cannot pull: no such host")
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        state = waiting(daemon, web)
        assert state.reason == "ImagePullBackOff"
        assert state.message == 'Back-off pulling image "busybox": ErrImagePull: cannot pull: no such host'
        tried: list[float] = []
        for _ in range(700):
            count = world.machine.calls.count("pulled busybox")
            if count > len(tried):
                tried.append(world.clock.now())
            await world.clock.advance(1)
        assert [b - a for a, b in pairwise(tried)] == [10, 20, 40, 80, 160, 300]
        world.machine.registry.clear()
        await world.clock.advance(300)
        assert isinstance(daemon.container(web).state, Running)
        assert daemon.reasons(web)[:4] == ["Pulling", "Failed", "Failed", "BackOff"]


async def test_while_it_is_tried_again_the_trouble_is_still_said() -> None:
    world = World()
    world.machine.registry["busybox"] = ImageError("cannot pull: no such host")
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.machine.pull_seconds = 5
        await world.clock.advance(12)
        state = waiting(daemon, web)
        assert (state.reason, state.message) == ("ErrImagePull", "cannot pull: no such host")


async def test_a_loaded_image_ends_the_backoff() -> None:
    world = World()
    world.machine.registry["busybox"] = ImageError("cannot pull: no such host")
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(35)
        world.machine.images["busybox"] = fake_image("busybox")
        daemon.supervisor.retry_pulls()
        await world.clock.settle()
        assert isinstance(daemon.container(web).state, Running)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImageNeverPull", 'Container image "busybox" is not present with pull policy of Never'),
        ("InvalidImageName", "cannot read it"),
    ],
)
async def test_what_no_pull_can_mend_is_said_as_it_is(reason: str, message: str) -> None:
    world = World()
    policy = PullPolicy.NEVER if reason == "ErrImageNeverPull" else PullPolicy.IF_NOT_PRESENT
    world.machine.registry["busybox"] = ImageError("cannot read it", reason=reason)
    web = pod("web", replace(container("main"), image_pull_policy=policy))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert waiting(daemon, web) == Waiting(reason=reason, message=message)


async def test_a_program_that_cannot_be_executed_is_a_crash() -> None:
    world = World()
    web = pod("web", container("main", "/nonexistent"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        assert waiting(daemon, web).reason == "CrashLoopBackOff"
        last = daemon.container(web).last_state
        assert last is not None
        assert (last.exit_code, last.reason) == (128, "StartError")
        assert last.message == 'cannot start container "main": no such file'
        assert daemon.container(web).restart_count == 1
        assert ("Failed", 'Error: cannot start container "main": no such file') in _said(daemon)


async def test_and_with_never_its_end() -> None:
    world = World()
    web = pod("web", container("main", "/nonexistent"), policy=NEVER)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert daemon.status(web).phase is Phase.FAILED
        state = daemon.container(web).state
        assert isinstance(state, Terminated)
        assert state.exit_code == 128


async def test_a_container_that_cannot_be_created_is_tried_again_whatever_the_policy() -> None:
    world = World()
    world.machine.failures["container rootfs"] = [RuntimeFailure("cannot mount: busy", reason="CreateContainerError")]
    web = pod("web", container("main"), container("side"), policy=NEVER)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        states = {c.name: c.state for c in daemon.status(web).container_statuses}
        assert states["main"] == Waiting(reason="CreateContainerError", message="cannot mount: busy")
        assert isinstance(states["side"], Running), "one that fails does not hold the others"
        await world.clock.advance(2)
        assert isinstance(daemon.container(web).state, Running)
        assert daemon.container(web).restart_count == 1


@pytest.mark.parametrize(
    ("point", "error", "reason"),
    [
        ("attaching", NetworkError("cannot make a veth", hint="is the module there?"), "FailedCreatePodSandBox"),
        ("sandbox document", RuntimeFailure("cannot write"), "FailedCreatePodSandBox"),
        ("prepare volume", VolumeError("cannot mount"), "FailedMount"),
    ],
)
async def test_steps_that_fail_are_tried_again(point: str, error: NsrunError, reason: str) -> None:
    world = World()
    world.machine.failures[point] = [error] * 3
    web = pod("web", container("main", volumes=["v"]), volumes=["v"])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert waiting(daemon, web).reason == "ContainerCreating"
        assert str(error) in waiting(daemon, web).message
        await world.clock.advance(1 + 2 + 4)
        assert isinstance(daemon.container(web).state, Running)
        assert daemon.reasons(web).count(reason) == 3
        assert any(error.message in message for _, message in _said(daemon))


def _said(daemon: Daemon) -> list[tuple[str, str]]:
    return [(event.reason, event.message) for event in daemon.board.happened]


# --- removal


async def test_grace_then_kill() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"), grace=7)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        began = world.clock.now()
        world.manifests.say()
        await world.clock.advance(6.9)
        assert isinstance(daemon.container(web).state, Running)
        await world.clock.advance(0.1)
        assert world.machine.owners() == set()
        assert world.machine.ended[-1][1] == 137
        assert world.clock.now() - began == pytest.approx(7)


async def test_no_grace_is_no_grace() -> None:
    world = World()
    web = pod("web", grace=0)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.manifests.say()
        await world.clock.settle()
        assert world.machine.ended[-1][1] == 137
        assert "signal" not in world.machine.calls
        assert daemon.reasons(web)[-2:] == ["Killing", "Removed"]


async def test_containers_are_stopped_side_by_side() -> None:
    world = World()
    web = pod("web", *(container(name, "trap '' TERM; sleep 9999") for name in "abc"), grace=7)
    world.manifests.say(web)
    async with world.daemon():
        world.manifests.say()
        await world.clock.advance(7)
        assert world.machine.owners() == set()


async def test_removal_goes_on_where_it_fails() -> None:
    world = World()
    world.machine.failures = {
        "signal": [RuntimeFailure("cannot signal")],
        "remove container": [RuntimeFailure("cannot remove the rootfs: busy")] * 9,
        "remove sandbox": [RuntimeFailure("cannot remove the cgroup: busy")],
        "detach": [NetworkError("cannot remove the veth")],
        "remove volumes": [VolumeError("cannot unmount: busy")],
    }
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.manifests.say()
        await world.clock.settle()
        assert daemon.reasons(web).count("FailedKillPod") == 1
        await world.clock.advance(10)
        assert world.machine.owners() == set()
        assert daemon.reasons(web).count("FailedKillPod") == 4


async def test_records_that_cannot_be_removed_are_tried_again() -> None:
    world = World()
    world.machine.failures["remove container"] = [RuntimeFailure("cannot remove: busy")] * 2
    job = pod("job")
    world.machine.scripts["job", "main"] = [Program(seconds=1, code=1)] * 2 + [Program()]
    world.manifests.say(job)
    async with world.daemon() as daemon:
        await world.clock.advance(30)
        assert daemon.reasons(job).count("FailedRemoveContainer") == 2
        assert [id.attempt for id in world.machine.runs(job.uid)] == [1, 2]


async def test_a_container_that_survives_its_kill_is_taken_down_with_its_sandbox() -> None:
    world = World()
    world.machine.failures["kill"] = [RuntimeFailure("cannot kill")] * 99
    web = pod("web", grace=0)
    world.manifests.say(web)
    async with world.daemon():
        world.manifests.say()
        await world.clock.advance(9)
        assert world.machine.owners() == {web.uid}
        await world.clock.advance(2)
        assert world.machine.owners() == set()


async def test_removal_during_a_pull_gives_the_pull_up() -> None:
    world = World()
    world.machine.pull_seconds = 1000
    world.manifests.say(pod())
    async with world.daemon():
        await world.clock.advance(1)
        world.manifests.say()
        await world.clock.settle()
        assert world.machine.owners() == set()


@pytest.mark.parametrize("point", ["attach", "attaching", "sandbox document", "container rootfs", "container started"])
async def test_removal_during_the_start(point: str) -> None:
    """The manifest goes while a step is under way: the step is let finish, and its work undone."""
    world = World()
    web = pod()
    world.manifests.say(web)
    world.machine.reached[point] = lambda: world.manifests.say()
    async with world.daemon():
        assert world.machine.owners() == set()
    assert world.machine.violations == []


SLOW = ("attaching", "prepare volume", "sandbox document", "sandbox started", "container rootfs", "container started")


@pytest.mark.parametrize("point", SLOW)
async def test_removal_waits_for_what_is_being_made(point: str) -> None:
    """Else it would be made after its removal, and stay."""
    world = World()
    world.machine.slow[point] = 5
    world.manifests.say(pod("web", container("main", volumes=["v"]), volumes=["v"]))
    async with world.daemon():
        await world.clock.advance(1)
        world.manifests.say()
        await world.clock.advance(60)
        assert world.machine.owners() == set()
    assert world.machine.violations == []


# --- changes


async def test_an_edit_replaces_the_pod_when_the_old_one_is_gone() -> None:
    world = World()
    old = pod("web", container("main", "trap '' TERM; sleep 9999"), uid="old", grace=5)
    new = pod("web", uid="new")
    world.manifests.say(old)
    async with world.daemon() as daemon:
        world.manifests.say(new)
        await world.clock.advance(4)
        assert [p.uid for p, _ in daemon.board.pods()] == ["old"]
        await world.clock.advance(1)
        assert [p.uid for p, _ in daemon.board.pods()] == ["new"]
        assert daemon.status(new).phase is Phase.RUNNING
    assert world.machine.violations == []


async def test_the_last_of_many_edits_wins() -> None:
    world = World()
    world.manifests.say(pod("web", container("main", "trap '' TERM; sleep 9999"), uid="u0", grace=5))
    async with world.daemon() as daemon:
        for number in range(1, 5):
            world.manifests.say(pod("web", uid=f"u{number}"))
            await world.clock.advance(0.5)
        await world.clock.advance(10)
        assert [p.uid for p, _ in daemon.board.pods()] == ["u4"]
        assert {uid for uid, _ in world.machine.processes} == {"u0", "u4"}


async def test_a_pod_that_comes_back_while_it_leaves_is_started_again() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"), grace=5)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.manifests.say()
        await world.clock.advance(1)
        world.manifests.say(web)
        await world.clock.advance(10)
        assert daemon.status(web).phase is Phase.RUNNING
        assert world.machine.processes[web.uid, "main"] == 2


async def test_labels_change_without_a_restart() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.manifests.say(replace(web, metadata=replace(web.metadata, labels={"tier": "front"})))
        await world.clock.settle()
        ((shown, _),) = daemon.board.pods()
        assert shown.metadata.labels == {"tier": "front"}
        assert world.machine.processes[web.uid, "main"] == 1


# --- the sandbox dies


def kill_shim_once_at(point: str, world: World, of: Pod) -> None:
    def reached() -> None:
        del world.machine.reached[point]
        world.machine.kill_shim(of.uid)

    world.machine.reached[point] = reached


async def test_a_dead_sandbox_is_replaced() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.machine.kill_shim(web.uid)
        await world.clock.advance(15)
        assert "SandboxChanged" in daemon.reasons(web)
        assert world.machine.calls.count("attach") == 2, "its address may have gone with it"
        assert world.machine.logs == {(web.uid, "main"): {0, 1}}, "the log of the first run is still there"
        status = daemon.container(web)
        assert isinstance(status.state, Running)
        assert status.restart_count == 1
        assert status.last_state is not None
        assert (status.last_state.exit_code, status.last_state.reason) == (137, "ContainerStatusUnknown")
    assert world.machine.violations == []


async def test_but_not_for_containers_that_are_never_restarted() -> None:
    world = World()
    job = pod("job", policy=NEVER)
    world.manifests.say(job)
    async with world.daemon() as daemon:
        world.machine.kill_shim(job.uid)
        await world.clock.advance(15)
        assert daemon.status(job).phase is Phase.FAILED
        assert world.machine.processes[job.uid, "main"] == 1
    async with world.daemon() as daemon:
        await world.clock.advance(15)
        assert daemon.status(job).phase is Phase.FAILED
        assert world.machine.processes[job.uid, "main"] == 1


async def test_a_sandbox_that_dies_while_it_starts() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    kill_shim_once_at("sandbox started", world, web)
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        assert daemon.status(web).phase is Phase.RUNNING
    assert world.machine.violations == []


async def test_a_sandbox_whose_death_is_told_before_its_start() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)

    def tell() -> None:
        del world.machine.reached["sandbox document"]
        world.machine.lives[0].told.put_nowait(SandboxExit(uid=web.uid, message="gone already"))

    world.machine.reached["sandbox document"] = tell
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        assert daemon.reasons(web).count("SandboxChanged") == 1
        assert daemon.status(web).phase is Phase.RUNNING
        assert world.machine.calls.count("removed sandbox") == 1
    assert world.machine.violations == []


async def test_a_sandbox_that_dies_while_a_container_starts() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    kill_shim_once_at("container started", world, web)
    async with world.daemon() as daemon:
        await world.clock.advance(15)
        assert daemon.status(web).phase is Phase.RUNNING
        assert daemon.container(web).restart_count == 1
    assert world.machine.violations == []


@pytest.mark.parametrize("point", ["next attempt", "container rootfs", "container started"])
async def test_a_sandbox_that_dies_while_a_container_starts_slowly(point: str) -> None:
    """The reset waits for the start, whatever comes of it."""
    world = World()
    world.machine.slow[point] = 5
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(1)
        world.machine.kill_shim(web.uid)
        await world.clock.advance(60)
        assert daemon.status(web).phase is Phase.RUNNING
        run = world.machine.run_of(web, "main")
        assert run is not None
        assert daemon.container(web).container_id == f"nsrun://{run.running.hash}"
    assert world.machine.violations == []


async def test_while_a_pod_stops_a_dead_sandbox_is_no_news() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.manifests.say()
        await world.clock.advance(1)
        world.machine.kill_shim(web.uid)
        await world.clock.settle()
        assert world.machine.owners() == set()
        assert "SandboxChanged" not in daemon.reasons(web)


# --- starting over


async def test_nothing_is_ended_before_the_manifests_spoke() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon():
        pass
    world.manifests.silence()
    world.machine.volumes["stranger"] = set()
    async with world.daemon() as daemon:
        await world.clock.advance(3600)
        assert daemon.status(web).phase is Phase.RUNNING
        assert "stranger" in world.machine.volumes
        world.manifests.say()
        await world.clock.settle()
        assert world.machine.owners() == set()


async def test_adopted_containers_run_on_and_their_exits_are_heard() -> None:
    world = World()
    web = pod("web", container("main"), container("job", "sleep 100; exit 3"), policy=NEVER)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        before = daemon.container(web).container_id
    async with world.daemon() as daemon:
        assert daemon.container(web).container_id == before
        assert daemon.container(web).image_id.startswith("docker.io/library/busybox@sha256:")
        assert daemon.status(web).pod_ip == "10.99.0.2"
        await world.clock.advance(100)
        state = daemon.container(web, "job").state
        assert isinstance(state, Terminated)
        assert state.exit_code == 3
    assert world.machine.processes == {(web.uid, "main"): 1, (web.uid, "job"): 1}


async def test_remains_of_every_kind_are_removed() -> None:
    world = World()
    other = pod("other")
    world.machine.volumes["only-volumes"] = {"v"}
    world.machine.attached["only-network"] = (other.name, False)
    world.machine.pods["only-sandbox"] = FakePod(document=None)
    world.manifests.say(other)
    async with world.daemon() as daemon:
        await world.clock.settle()
        assert world.machine.owners() == {other.uid}
        assert daemon.status(other).phase is Phase.RUNNING
    assert world.machine.violations == [], "the remains under the pod's name are gone before it starts"


async def test_a_uid_that_took_another_name_while_nobody_looked() -> None:
    world = World()
    moved = pod("new-name", uid="u")
    world.machine.attached["u"] = (pod("old-name").name, True)
    world.machine.volumes["u"] = set()
    world.manifests.say(moved)
    async with world.daemon() as daemon:
        await world.clock.settle()
        assert daemon.status(moved).phase is Phase.RUNNING
        assert world.machine.attached == {"u": (moved.name, True)}
        assert world.machine.calls.index("detached") < world.machine.calls.index("attach")


async def test_a_pod_that_cannot_be_read_is_known_by_its_manifest() -> None:
    world = World()
    web = pod("web", container("main"), container("job", "sleep 10; exit 0"), policy=ON_FAILURE)
    world.manifests.say(web)
    async with world.daemon():
        pass
    world.machine.pods[web.uid].document = {"kind": "Nonsense"}
    world.manifests.silence()
    async with world.daemon() as daemon:
        await world.clock.advance(20)
        assert daemon.board.pods() == ()
        world.manifests.say(web)
        await world.clock.settle()
        assert daemon.status(web).phase is Phase.RUNNING
        assert isinstance(daemon.container(web, "job").state, Terminated)
    assert world.machine.processes == {(web.uid, "main"): 1, (web.uid, "job"): 1}


async def test_or_is_ended_gently_when_there_is_none() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"), grace=1)
    world.manifests.say(web)
    async with world.daemon():
        pass
    world.machine.pods[web.uid].document = None
    world.manifests.say()
    async with world.daemon():
        await world.clock.advance(29)
        assert len(world.machine.live()) == 1, "an unknown pod has the default grace"
        await world.clock.advance(1)
        assert world.machine.owners() == set()
    assert world.machine.violations == []


async def test_a_pod_that_nobody_knows_is_taken_out_of_the_network_too() -> None:
    """Its name is known to the network alone, which does not answer at first."""
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon():
        pass
    world.machine.pods[web.uid].document = None
    world.machine.failures["network owners"] = [NetworkError("cannot list")]
    successor = pod("web", uid="successor")
    world.manifests.say(successor)
    async with world.daemon() as daemon:
        await world.clock.advance(60)
        assert world.machine.owners() == {"successor"}
        assert daemon.status(successor).phase is Phase.RUNNING
    assert world.machine.violations == []


async def test_after_a_reboot_pods_start_afresh() -> None:
    world = World()
    web = pod("web", container("main", volumes=["v"]), volumes=["v"])
    world.manifests.say(web)
    async with world.daemon():
        pass
    world.machine.reboot()
    async with world.daemon() as daemon:
        assert daemon.status(web).phase is Phase.RUNNING
        assert daemon.container(web).restart_count == 1, "the log of the first run is still there"
    assert world.machine.violations == []


# --- manifests


async def test_problems_are_said_once_each() -> None:
    world = World()
    world.manifests.update(SourceUpdate(pods=(), problems=("a.yaml:1:1: bad",), warnings=("a.yaml:2:1: odd",)))
    async with world.daemon() as daemon:
        world.manifests.update(SourceUpdate(pods=(), problems=("a.yaml:1:1: bad", "b.yaml:1:1: bad")))
        await world.clock.settle()
        assert _said(daemon) == [
            ("FailedValidation", "a.yaml:1:1: bad"),
            ("ManifestWarning", "a.yaml:2:1: odd"),
            ("FailedValidation", "b.yaml:1:1: bad"),
        ]
        assert daemon.board.problems == ("a.yaml:1:1: bad", "b.yaml:1:1: bad")
        assert daemon.board.warnings == ()


async def test_a_pod_whose_manifest_broke_runs_on_and_says_so_once() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        for problem in ("one", "two"):
            world.manifests.update(SourceUpdate(pods=(web,), problems=(problem,), retained=frozenset({web.name})))
            await world.clock.settle()
        assert daemon.reasons(web).count("BrokenManifest") == 1
        assert daemon.status(web).phase is Phase.RUNNING


async def test_also_when_it_broke_while_nobody_looked() -> None:
    world = World()
    web = pod()
    web = replace(web, metadata=replace(web.metadata, annotations={MANIFEST_ANNOTATION: "/m/web.yaml"}))
    world.manifests.say(web)
    async with world.daemon():
        pass
    world.manifests.update(SourceUpdate(pods=(), broken=frozenset({"/m/web.yaml"})))
    async with world.daemon() as daemon:
        await world.clock.advance(60)
        assert daemon.status(web).phase is Phase.RUNNING
        assert daemon.reasons(web) == ["BrokenManifest", "Ready"]


async def test_an_adopted_pod_is_told_ready_with_its_address() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon():
        pass
    async with world.daemon() as daemon:
        told = [event.message for event in daemon.board.happened if event.reason == "Ready"]
        assert told == [f"Pod is ready at {daemon.status(web).pod_ip}"]
        assert daemon.status(web).pod_ip


async def test_pods_beyond_the_limit_are_turned_away_until_there_is_room() -> None:
    world = World()
    a, b, c = pod("a"), pod("b"), pod("c")
    world.manifests.say(a, b, c)
    async with world.daemon(settings=SupervisorSettings(admission=Admission(max_pods=2))) as daemon:
        status = daemon.status(c)
        assert (status.phase, status.reason) == (Phase.FAILED, "OutOfpods")
        assert status.message == (
            "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
        )
        assert daemon.reasons(c) == ["OutOfpods"]
        world.manifests.say(a, c)
        await world.clock.settle()
        assert daemon.status(c).phase is Phase.RUNNING
        world.manifests.say(a, b, c)
        await world.clock.settle()
        assert daemon.status(b).phase is Phase.FAILED
        world.manifests.say(a, c)
        await world.clock.settle()
        assert [p.name.name for p, _ in daemon.board.pods()] == ["a", "c"]


async def test_a_finished_pod_makes_room() -> None:
    world = World()
    job, web = pod("job", container("main", "sleep 5; exit 0"), policy=NEVER), pod("web")
    world.manifests.say(job, web)
    async with world.daemon(settings=SupervisorSettings(admission=Admission(max_pods=1))) as daemon:
        assert daemon.status(web).phase is Phase.FAILED
        await world.clock.advance(5)
        assert daemon.status(job).phase is Phase.SUCCEEDED
        assert daemon.status(web).phase is Phase.RUNNING


async def test_a_second_pod_of_one_uid_is_turned_away_and_harms_nobody() -> None:
    world = World()
    a, thief = pod("a"), pod("thief", uid="uid-a")
    world.manifests.say(a, thief)
    async with world.daemon() as daemon:
        ((shown, status),) = daemon.board.pods()
        assert (shown, status.phase) == (a, Phase.RUNNING)
        assert ("DuplicateUID", 'Pod was rejected: the UID "uid-a" belongs to pod "default/a"') in _said(daemon)


# --- the end


async def test_stop_leaves_the_pods_running() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        daemon.supervisor.stop()
        await world.clock.settle()
        assert daemon.ended
        assert len(world.machine.live()) == 1


async def test_down_removes_everything() -> None:
    world = World()
    world.manifests.say(pod("a"), pod("b", container("main", "trap '' TERM; sleep 9999"), grace=3))
    world.machine.volumes["stranger"] = set()
    async with world.daemon() as daemon, asyncio.TaskGroup() as group:
        down = group.create_task(daemon.supervisor.down())
        await world.clock.advance(2)
        assert world.machine.bridge
        assert not down.done()
        await world.clock.advance(1)
        assert down.done()
        assert daemon.ended
        assert world.machine.owners() == set()
        assert not world.machine.bridge


async def test_down_with_a_grace_of_its_own_and_a_shorter_one_later() -> None:
    world = World()
    world.manifests.say(pod("a", container("main", "trap '' TERM; sleep 9999"), grace=300))
    async with world.daemon() as daemon, asyncio.TaskGroup() as group:
        downs = [group.create_task(daemon.supervisor.down(grace=100))]
        await world.clock.advance(50)
        ((_, status),) = daemon.board.pods()
        assert (status.deletion_time, status.deletion_grace) == (world.clock.now() + 50, 100)
        downs.append(group.create_task(daemon.supervisor.down(grace=60)))
        await world.clock.advance(9)
        assert not any(down.done() for down in downs)
        await world.clock.advance(1)
        assert all(down.done() for down in downs)
        assert daemon.supervisor.is_down
        assert world.machine.owners() == set()


async def test_a_down_that_is_interrupted_is_none() -> None:
    world = World()
    world.manifests.say(pod("a", container("main", "trap '' TERM; sleep 9999"), grace=300))
    async with world.daemon() as daemon, asyncio.TaskGroup() as group:
        down = group.create_task(daemon.supervisor.down())
        await world.clock.advance(1)
        daemon.supervisor.stop()
        await world.clock.settle()
        assert daemon.ended
        assert not daemon.supervisor.is_down
        assert world.machine.bridge
        down.cancel()


async def test_down_looks_for_remains_until_it_has_seen_them() -> None:
    world = World()
    world.machine.failures["network owners"] = [NetworkError("cannot list")]
    world.machine.volumes["stranger"] = set()
    async with world.daemon() as daemon, asyncio.TaskGroup() as group:
        group.create_task(daemon.supervisor.down())
        await world.clock.advance(60)
        assert daemon.ended
    assert world.machine.owners() == set()


async def test_down_does_not_wait_for_the_manifests() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon():
        pass
    world.manifests.silence()
    async with world.daemon() as daemon:
        await daemon.supervisor.down()
    assert world.machine.owners() == set()


# --- bugs


async def test_a_bug_in_one_pod_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.machine.failures["container rootfs"] = [ValueError("what?")]
    a, b = pod("a"), pod("b")
    world.manifests.say(a, b)
    with caplog.at_level(logging.ERROR):
        async with world.daemon() as daemon:
            assert daemon.status(b).phase is Phase.RUNNING
            assert ("Failed", "Error: internal error: what?") in _said(daemon)
            await world.clock.advance(5)
            assert daemon.status(a).phase is Phase.RUNNING
            assert daemon.container(a).restart_count == 0, "the same run was asked for again"
    assert "Traceback" in caplog.text
    assert not any("Traceback" in message for _, message in _said(daemon))


async def test_a_bug_in_a_worker_itself(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    web = pod()
    faults = [ZeroDivisionError(), ZeroDivisionError()]

    def wrong(*args: Any, **kwargs: Any) -> PodStatus:
        if faults:
            raise faults.pop()
        return pod_status(*args, **kwargs)

    monkeypatch.setattr(worker, "pod_status", wrong)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert daemon.reasons(web) == ["InternalError"]
        await world.clock.advance(25)
        assert daemon.status(web).phase is Phase.RUNNING


async def test_a_source_or_a_runtime_that_stumbles_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    world.manifests.faults = [OSError("inotify"), NsrunError("cannot watch")]
    async with world.daemon() as daemon:
        assert daemon.board.pods() == ()
        await world.clock.advance(61)
        assert daemon.status(web).phase is Phase.RUNNING


async def test_remains_that_cannot_be_looked_for_hold_new_pods_but_not_those_that_run() -> None:
    world = World()
    old = pod("old", container("main", "sleep 5; exit 1"))
    world.manifests.say(old)
    async with world.daemon():
        pass
    failures: list[NsrunError | Exception] = [NetworkError("cannot list")] * 99
    world.machine.failures["network owners"] = failures
    world.machine.volumes["stranger"] = set()
    web = pod()
    world.manifests.say(old, web)
    async with world.daemon() as daemon:
        await world.clock.advance(6)
        assert daemon.container(old).restart_count == 1
        assert [one.uid for one, _ in daemon.board.pods()] == [old.uid]
        assert "stranger" in world.machine.volumes
        failures.clear()
        await world.clock.advance(10)
        assert daemon.status(web).phase is Phase.RUNNING
        assert "stranger" not in world.machine.volumes


async def test_a_machine_that_cannot_be_looked_at_is_an_error() -> None:
    world = World()
    world.machine.failures["adopt"] = [RuntimeFailure("cannot read the run directory")]
    daemon = Daemon(world)
    with pytest.raises(RuntimeFailure, match="cannot read the run directory"):
        await daemon.supervisor.run()


# --- the board


async def test_events_can_be_followed() -> None:
    world = World()
    seen: list[Event] = []

    async def follow(daemon: Daemon) -> None:
        async for news in daemon.board.watch_events():
            seen.extend(series.event for series in news)

    async with world.daemon() as daemon, asyncio.TaskGroup() as group:
        follower = group.create_task(follow(daemon))
        await world.clock.settle()
        web = pod("web", init=[container("one", "exit 0")])
        world.manifests.say(web)
        await world.clock.settle()
        assert seen[-1].reason == "Ready"
        assert seen == daemon.board.happened
        assert {event.container: event.init for event in seen} == {"one": True, "main": False, "": False}
        follower.cancel()


async def test_what_the_host_withholds_is_said_once() -> None:
    world = World()
    world.machine.withheld = ("cannot limit memory: no controller",)
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        run = world.machine.run_of(web, "main")
        assert run is not None
        world.machine.end(run, code=1)
        await world.clock.advance(1)
        assert daemon.container(web).restart_count == 1
        assert daemon.reasons(web).count("HostLimitation") == 1


async def test_what_the_host_withholds_is_in_the_status_and_outlives_a_supervisor() -> None:
    world = World()
    web = pod()
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert limitations(daemon, web) == []
    world.machine.withheld = ("cannot limit memory: no controller", "cannot limit cpu: no controller")
    one = pod("one")
    world.manifests.say(web, one)
    said = ["True HostWithholds cannot limit memory: no controller; cannot limit cpu: no controller"]
    async with world.daemon() as daemon:
        assert limitations(daemon, one) == said
        await world.clock.advance(60)
    world.machine.withheld = ()
    async with world.daemon() as daemon:
        assert limitations(daemon, one) == said, "its container runs on, with as little as before"
        assert limitations(daemon, web) == []


def limitations(daemon: Daemon, pod: Pod) -> list[str]:
    status = daemon.board.status(pod.uid)
    assert status is not None
    return [f"{c.status} {c.reason} {c.message}" for c in status.conditions if c.type == "HostLimitation"]


async def test_it_is_known_what_runs_here_once_both_sides_were_looked_at() -> None:
    world = World()
    world.manifests.say(pod("web"))
    async with world.daemon():
        await world.clock.advance(10)
    silent = World()
    silent.machine, silent.clock = world.machine, world.clock
    async with silent.daemon() as daemon:
        known = asyncio.create_task(daemon.supervisor.until_known())
        await silent.clock.advance(10)
        assert not known.done(), "nobody said yet what is wanted"
        silent.manifests.say(pod("web"), pod("other"))
        await known
        assert [shown.uid for shown, _ in daemon.board.pods()] == ["uid-other", "uid-web"]


async def test_it_tells_when_it_last_came_round() -> None:
    world = World()
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        before = world.clock.monotonic()
        world.manifests.say()
        await world.clock.settle()
        assert daemon.supervisor.loop_entered_at == before
        await world.clock.advance(5)
        assert daemon.supervisor.loop_entered_at == before, "nothing was to be compared"
