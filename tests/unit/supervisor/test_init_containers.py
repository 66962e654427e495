"""Init containers and sidecars over an imagined machine: who begins when, who runs again, who is stopped when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nsrun.errors import ImageError
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import Probe, Sleep
from nsrun.model.status import Phase, Running, Terminated, Waiting
from nsrun.supervisor import runs
from nsrun.supervisor.facts import ContainerFacts, Role
from nsrun.supervisor.fold import accepted
from nsrun.supervisor.lifecycle import ContainerState
from nsrun.supervisor.order import is_initialized, may_start
from tests.contracts.fakes import Program, fake_image
from tests.unit.supervisor.world import Daemon, World, container, hook, pod, sidecar

ALWAYS, ON_FAILURE, NEVER = RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE, RestartPolicy.NEVER
LIFE = container("x").lifecycle


def began(world: World) -> list[str]:
    """The names of everything that was started, in order."""
    return [id.name for id in world.machine.began]


def running(daemon: Daemon, of: Pod, name: str) -> bool:
    return isinstance(daemon.container(of, name).state, Running)


def waiting(daemon: Daemon, of: Pod, name: str) -> Waiting:
    state = daemon.container(of, name).state
    assert isinstance(state, Waiting)
    return state


# --- init containers


async def test_they_run_one_after_the_other_before_all_else() -> None:
    world = World()
    web = pod("web", container("b"), container("a"), init=[container("one", "sleep 3; exit 0"), container("two")])
    world.machine.scripts["web", "two"] = [Program(seconds=4)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert began(world) == ["one"]
        assert daemon.status(web).phase is Phase.PENDING
        assert [waiting(daemon, web, name).reason for name in ("two", "a", "b")] == ["PodInitializing"] * 3
        await world.clock.advance(3)
        assert began(world) == ["one", "two"]
        initialized = daemon.condition(web, "Initialized")
        assert (initialized.status, initialized.reason) == ("False", "ContainersNotInitialized")
        assert initialized.message == "containers with incomplete status: [two]"
        await world.clock.advance(4)
        assert began(world) == ["one", "two", "b", "a"], "in the order of the manifest"
        assert daemon.status(web).phase is Phase.RUNNING
        assert daemon.condition(web, "Initialized").status == "True"
        assert [c.name for c in daemon.status(web).init_container_statuses] == ["one", "two"]
        assert [c.name for c in daemon.status(web).container_statuses] == ["a", "b"], "by name, as the kubelet has it"
        one = daemon.container(web, "one")
        assert isinstance(one.state, Terminated)
        assert (one.state.reason, one.ready, one.started) == ("Completed", True, False)
    assert world.machine.violations == []


async def test_an_image_that_cannot_be_had_is_a_containers_state_only_when_its_turn_has_come() -> None:
    world = World()
    web = pod("web", container("main"), init=[container("one"), container("two")])
    world.machine.scripts |= {("web", "one"): [Program(seconds=5)], ("web", "two"): [Program(seconds=1)]}
    missing = ImageError("cannot pull", reason="ErrImagePull")
    web = replace(web, spec=replace(web.spec, containers=(replace(web.spec.containers[0], image="nowhere/main"),)))
    world.machine.registry = {"nowhere/main": missing}
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(1)
        assert "Failed" in daemon.reasons(web), "fetched early, and told"
        assert [waiting(daemon, web, name).reason for name in ("two", "main")] == ["PodInitializing"] * 2
        await world.clock.advance(6)
        assert waiting(daemon, web, "main").reason == "ImagePullBackOff"


@pytest.mark.parametrize(("policy", "own"), [(ALWAYS, None), (ON_FAILURE, None), (NEVER, ON_FAILURE)])
async def test_one_that_fails_is_run_again_with_backoff(policy: RestartPolicy, own: RestartPolicy | None) -> None:
    world = World()
    web = pod("web", init=[container("one", restart_policy=own)], policy=policy)
    world.machine.scripts["web", "one"] = [Program(seconds=1, code=1)] * 2 + [Program(seconds=1)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(2)
        assert waiting(daemon, web, "one").reason == "CrashLoopBackOff"
        assert daemon.status(web).phase is Phase.PENDING
        assert began(world) == ["one", "one"]
        await world.clock.advance(11)
        assert began(world) == ["one", "one", "one", "main"]
        assert daemon.container(web, "one").restart_count == 2


@pytest.mark.parametrize(("policy", "own"), [(NEVER, None), (ALWAYS, NEVER)])
async def test_one_that_fails_for_good_fails_the_pod(policy: RestartPolicy, own: RestartPolicy | None) -> None:
    world = World()
    web = pod("web", init=[sidecar("side"), container("one", restart_policy=own)], policy=policy)
    world.machine.scripts["web", "one"] = [Program(seconds=1, code=3)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(60)
        assert began(world) == ["side", "one"]
        assert world.machine.live() == []
        status = daemon.status(web)
        assert status.phase is Phase.FAILED
        assert waiting(daemon, web, "main").reason == "PodInitializing"
        assert (daemon.condition(web, "Ready").reason, daemon.condition(web, "Initialized").status) == (
            "PodFailed",
            "False",
        )
        assert world.machine.owners() == {web.uid}, "its records are kept"


async def test_one_killed_for_its_memory_failed_whatever_its_code() -> None:
    from nsrun.model.running import Exit, ExitReason
    from nsrun.supervisor.restart import Outcome, outcome

    web = pod("web", init=[container("one")])
    exit = Exit(code=0, reason=ExitReason.OOM_KILLED, started_at=1.0, finished_at=2.0)
    assert outcome(web, web.spec.init_containers[0], Role.INIT, exit) is Outcome.AGAIN


async def test_a_new_sandbox_runs_them_again() -> None:
    world = World()
    web = pod("web", init=[container("one", "sleep 1; exit 0"), sidecar("side")])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(2)
        assert began(world) == ["one", "side", "main"]
        world.machine.kill_shim(web.uid)
        await world.clock.settle()
        assert began(world)[3:] == ["one"]
        await world.clock.advance(20)
        assert began(world)[3:] == ["one", "side", "main"]
        assert [daemon.container(web, name).restart_count for name in ("one", "side", "main")] == [1, 1, 1]
    assert world.machine.violations == []


async def test_a_pod_that_is_never_restarted_ends_with_its_sandbox() -> None:
    world = World()
    web = pod("web", init=[container("one", "sleep 1; exit 0"), container("two")], policy=NEVER)
    world.machine.registry["slow"] = fake_image("slow")
    web = replace(web, spec=replace(web.spec, containers=(container("main", image="slow"),)))
    world.machine.slow["pulled slow"] = 50
    world.machine.scripts["web", "two"] = [Program(seconds=1)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        world.machine.kill_shim(web.uid)
        await world.clock.advance(60)
        assert daemon.status(web).phase is Phase.FAILED
        assert daemon.status(web).reason == "SandboxChanged"
        assert began(world) == ["one", "two"], "nothing is run a second time"


# --- sidecars


async def test_the_next_begins_when_a_sidecar_is_up() -> None:
    world = World()
    probe = Probe(action=hook("exit 0"), initial_delay_seconds=7)
    life = replace(LIFE, post_start=Sleep(seconds=5))
    web = pod("web", init=[sidecar("side", startup_probe=probe, lifecycle=life), container("one", "sleep 1; exit 0")])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(4)
        assert waiting(daemon, web, "side").reason == "PodInitializing", "its hook is not done"
        await world.clock.advance(2)
        assert running(daemon, web, "side")
        assert not daemon.container(web, "side").started
        assert began(world) == ["side"]
        assert daemon.condition(web, "Initialized").message == "containers with incomplete status: [side one]"
        await world.clock.advance(1.5)
        assert began(world) == ["side", "one"]
        assert daemon.container(web, "side").started
        await world.clock.advance(1)
        assert began(world) == ["side", "one", "main"]
        assert daemon.status(web).phase is Phase.RUNNING


async def test_readiness_of_a_sidecar_counts_and_is_not_waited_for() -> None:
    world = World()
    web = pod("web", init=[sidecar("side", readiness_probe=Probe(action=hook("exit 1"), period_seconds=1))])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        assert began(world) == ["side", "main"]
        assert daemon.condition(web, "ContainersReady").message == "containers with unready status: [side]"


@pytest.mark.parametrize("policy", list(RestartPolicy))
async def test_a_sidecar_that_ends_is_run_again(policy: RestartPolicy) -> None:
    world = World()
    web = pod("web", init=[sidecar("side"), container("one", "sleep 30; exit 0")], policy=policy)
    world.machine.scripts["web", "side"] = [Program(seconds=2, code=0), Program(seconds=9, code=1), Program()]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(3)
        assert began(world) == ["side", "one", "side"], "beside the init container after it"
        await world.clock.advance(60)
        assert began(world) == ["side", "one", "side", "side", "main"]
        assert daemon.status(web).phase is Phase.RUNNING


async def test_it_does_not_keep_a_pod_alive() -> None:
    world = World()
    web = pod("web", container("main", "sleep 5; exit 0"), init=[sidecar("one"), sidecar("two")], policy=NEVER)
    world.machine.scripts["web", "one"] = [Program(asked=0)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        assert daemon.status(web).phase is Phase.SUCCEEDED
        assert [id.name for id, _ in world.machine.ended] == ["main", "two", "one"], "the last one first"
        assert daemon.said("Killing") == ["Stopping container one", "Stopping container two"]
        await world.clock.advance(400)
        assert len(began(world)) == 3
        assert daemon.condition(web, "Ready").reason == "PodCompleted"
        assert daemon.condition(web, "PodReadyToStartContainers").status == "False"


async def test_a_pod_that_is_removed_stops_them_last_and_in_reverse() -> None:
    world = World()
    web = pod("web", container("main"), init=[sidecar("one"), sidecar("two"), sidecar("three")], grace=30)
    world.machine.scripts["web", "main"] = [Program(takes=4)]
    world.machine.scripts["web", "two"] = [Program(takes=3)]
    world.manifests.say(web)
    async with world.daemon():
        world.manifests.say()
        await world.clock.advance(3.9)
        assert world.machine.ended == []
        await world.clock.advance(0.2)
        assert [id.name for id, _ in world.machine.ended] == ["main", "three"]
        await world.clock.advance(3)
        assert [id.name for id, _ in world.machine.ended] == ["main", "three", "two", "one"]
        assert world.machine.owners() == set()


async def test_waiting_for_others_uses_up_the_grace_but_two_seconds() -> None:
    world = World()
    stubborn = "trap '' TERM; sleep 9999"
    web = pod("web", container("main", stubborn), init=[sidecar("one", stubborn), sidecar("two", stubborn)], grace=10)
    world.manifests.say(web)
    async with world.daemon():
        at = world.clock.now()
        world.machine.signalled.clear()
        world.manifests.say()
        await world.clock.advance(9.9)
        assert [name for name, _ in world.machine.signalled] == ["main"]
        await world.clock.advance(0.1)
        assert sorted(world.machine.signalled) == [("main", at), ("one", at + 10), ("two", at + 10)]
        assert [id.name for id, _ in world.machine.ended] == ["main"]
        await world.clock.advance(2)
        assert world.machine.owners() == set()
        assert [code for _, code in world.machine.ended] == [137] * 3


# --- turns, purely


def test_whose_turn_it_is() -> None:
    web = pod("web", container("a"), container("b"), init=[container("i"), sidecar("s")])
    facts = accepted(web, 1.0)
    assert [(c.name, c.role) for c in facts.containers] == [
        ("i", Role.INIT),
        ("s", Role.SIDECAR),
        ("a", Role.APP),
        ("b", Role.APP),
    ]

    def may(*changes: tuple[str, Callable[[ContainerFacts], ContainerFacts]]) -> list[str]:
        known = facts
        for name, change in changes:
            known = runs.changed(known, name, change)
        return [c.name for c in known.containers if may_start(known, c)]

    def in_state(state: ContainerState) -> Callable[[ContainerFacts], ContainerFacts]:
        return lambda container: replace(container, state=state)

    def past(container: ContainerFacts) -> ContainerFacts:
        return replace(container, initialized=True)

    done = [("i", past), ("s", past)]
    assert may() == ["i"]
    assert may(done[0]) == ["i", "s"]
    assert may(*done) == ["i", "s", "a", "b"], "whoever waits for an image is passed over"
    assert may(*done, ("a", in_state(ContainerState.READY))) == ["i", "s", "a"]
    assert may(*done, ("a", in_state(ContainerState.START_BACKOFF))) == ["i", "s", "a", "b"]
    assert not is_initialized(facts)
    hooked = pod("web", container("a", lifecycle=replace(LIFE, post_start=Sleep(seconds=1))), container("b"))
    known = accepted(hooked, 1.0)
    assert not may_start(known, ContainerFacts(name="b")), "unless it has a hook that others wait for"


async def test_a_hook_of_an_app_container_holds_back_those_after_it() -> None:
    world = World()
    life = replace(LIFE, post_start=Sleep(seconds=5))
    web = pod("web", container("proxy", image="slow", lifecycle=life), container("main"))
    world.machine.slow["pulled slow"] = 10
    world.manifests.say(web)
    async with world.daemon():
        await world.clock.advance(14)
        assert began(world) == ["proxy"]
        await world.clock.advance(2)
        assert began(world) == ["proxy", "main"]


async def test_one_that_cannot_be_created_holds_nobody_back() -> None:
    from nsrun.errors import RuntimeFailure

    world = World()
    world.machine.failures["start container a"] = [RuntimeFailure("cannot", reason="CreateContainerError")] * 3
    web = pod("web", container("a"), container("b"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert began(world) == ["b"]
        await world.clock.advance(10)
        assert began(world) == ["b", "a"]
        assert daemon.container(web, "a").restart_count == 0, "creations that never ran are no restarts"
