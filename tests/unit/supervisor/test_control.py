"""Containers that are stopped, started and restarted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from nsrun.errors import ConflictError, ImageError, NotFoundError, RuntimeFailure
from nsrun.model.container import RestartAction, RestartRule
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import HttpGet, Lifecycle, Probe
from nsrun.model.running import CheckResult
from nsrun.model.status import Phase, Running, Terminated, Waiting
from nsrun.supervisor.commanding import Command
from nsrun.supervisor.control import Progress, Verb
from nsrun.support.layout import PodName
from tests.contracts.fakes import Program
from tests.unit.supervisor.world import Daemon, World, container, hook, pod, sidecar

STOP, START, RESTART = Verb.STOP, Verb.START, Verb.RESTART
NEVER = RestartPolicy.NEVER
WEB = pod("web", container("main"), container("side"))


def command(daemon: Daemon, of: Pod, verb: Verb, *names: str, grace: float | None = None) -> Command:
    return daemon.supervisor.command(of.name, verb, names, grace=grace)


def told(given: Command) -> list[str]:
    """What each waits for; "done"."""
    return ["done" if one.done else one.failure or one.waits_for for one in given.look()]


def is_stopped(daemon: Daemon, of: Pod, name: str = "main") -> bool:
    state = daemon.container(of, name).state
    return isinstance(state, Waiting) and state.reason == "Stopped"


async def obeyed(world: World, daemon: Daemon, of: Pod, verb: Verb, *names: str, grace: float | None = None) -> None:
    """Without any time passing."""
    given = command(daemon, of, verb, *names, grace=grace)
    await world.clock.settle()
    assert all(one.done for one in given.look()), given.look()


# --- stop


async def test_one_that_is_stopped_stays_so_and_the_others_go_on() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, WEB, STOP, "main")
        shown = daemon.container(WEB)
        assert is_stopped(daemon, WEB)
        assert isinstance(shown.last_state, Terminated)
        assert (shown.last_state.exit_code, shown.ready, shown.restart_count) == (143, False, 0)
        assert isinstance(daemon.container(WEB, "side").state, Running)
        assert daemon.status(WEB).phase is Phase.RUNNING
        assert daemon.condition(WEB, "Ready").status == "False"
        assert daemon.said("Killing") == ["Stopping container main"]
        await world.clock.advance(4000)
        assert is_stopped(daemon, WEB)
        assert "BackOff" not in daemon.reasons(WEB)
        assert world.machine.processes == {("uid-web", "main"): 1, ("uid-web", "side"): 1}


async def test_hook_signal_grace_and_kill() -> None:
    world = World()
    slow = container("main", "trap '' TERM; sleep 9999", lifecycle=Lifecycle(pre_stop=hook("sleep 2; exit 0")))
    web = pod("web", slow, grace=300)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        given = command(daemon, web, STOP, grace=5)
        await world.clock.settle()
        assert told(given) == ["its preStop hook"]
        await world.clock.advance(2)
        assert told(given) == ["its end, after the stop signal"]
        assert world.machine.signalled == [("main", world.clock.now())]
        await world.clock.advance(2.9)
        assert not is_stopped(daemon, web)
        await world.clock.advance(0.1)
        assert told(given) == ["done"]
        last = daemon.container(web).last_state
        assert last is not None
        assert last.exit_code == 137


async def test_no_time_is_no_hook_and_no_signal() -> None:
    world = World()
    web = pod("web", container("main", lifecycle=Lifecycle(pre_stop=hook("exit 0"))))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, web, STOP, "main", grace=0)
        assert (world.machine.signalled, world.machine.commands) == ([], [])


async def test_who_asks_again_may_be_less_patient() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"), grace=300)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        first = command(daemon, web, STOP, "main")
        await world.clock.advance(10)
        assert told(first) == ["its end, after the stop signal"]
        command(daemon, web, STOP, "main", grace=600)
        await world.clock.settle()
        second = command(daemon, web, STOP, "main", grace=0)
        await world.clock.settle()
        assert told(first) == told(second) == ["done"]


async def test_probes_end_with_it() -> None:
    world = World()
    world.machine.answers[80] = CheckResult(success=True)
    probe = Probe(action=HttpGet(port=80), period_seconds=5, failure_threshold=1)
    web = pod("web", container("main", liveness_probe=probe, readiness_probe=probe))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(20)
        await obeyed(world, daemon, web, STOP)
        asked = len(world.machine.asked)
        world.machine.answers.clear()
        await world.clock.advance(100)
        assert len(world.machine.asked) == asked
        assert daemon.said("Unhealthy") == []


async def test_one_that_waits_to_crash_again_is_stopped_at_once() -> None:
    world = World()
    web = pod("web", container("main", "sleep 1; exit 1"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        assert daemon.container(web).restart_count == 1
        await obeyed(world, daemon, web, STOP, "main")
        await world.clock.advance(1000)
        assert is_stopped(daemon, web)
        assert daemon.container(web).restart_count == 1


async def test_a_pull_for_one_that_is_stopped_is_given_up() -> None:
    world = World()
    world.machine.pull_seconds = 1000
    web = pod("web", container("main", image="slow"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, web, STOP, "main")
        await world.clock.advance(2000)
        assert is_stopped(daemon, web)
        assert daemon.status(web).phase is Phase.PENDING
        assert world.machine.processes == {}
        world.machine.pull_seconds = 5
        given = command(daemon, web, START, "main")
        await world.clock.settle()
        assert told(given) == ["its image"]
        await world.clock.advance(5)
        assert told(given) == ["done"]


async def test_one_that_is_being_started_is_stopped_when_it_runs() -> None:
    world = World()
    web = pod("web", container("main"))
    world.manifests.say(web)
    world.machine.slow["container rootfs"] = 10
    async with world.daemon() as daemon:
        given = command(daemon, web, STOP, "main")
        await world.clock.advance(5)
        assert told(given) == ["the stop to begin"]
        await world.clock.advance(10)
        assert told(given) == ["done"]
        assert world.machine.live() == []


async def test_a_start_that_went_wrong_halfway_is_not_made_again_for_one_that_is_stopped() -> None:
    world = World()
    web = pod("web", container("main"))
    world.machine.failures["container rootfs"] = [ValueError("a bug")] * 3
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, web, STOP, "main")
        await world.clock.advance(100)
        assert is_stopped(daemon, web)
        assert world.machine.processes == {}


async def test_stopped_twice_and_started_twice_is_no_error() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        for _ in range(2):
            await obeyed(world, daemon, WEB, STOP, "main", "main")
        for _ in range(2):
            await obeyed(world, daemon, WEB, START)
        assert world.machine.processes == {("uid-web", "main"): 2, ("uid-web", "side"): 1}


# --- start and restart


async def test_it_is_started_again_as_another_run() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, WEB, STOP, "main")
        await obeyed(world, daemon, WEB, START, "main")
        shown = daemon.container(WEB)
        assert isinstance(shown.state, Running)
        assert (shown.restart_count, shown.ready) == (1, True)
        assert daemon.condition(WEB, "Ready").status == "True"
        assert daemon.said("Started")[-1] == "Started container main"


@pytest.mark.parametrize("verb", [START, RESTART])
async def test_nobody_waits_for_the_end_of_a_backoff(verb: Verb) -> None:
    world = World()
    web = pod("web", container("main", "sleep 1; exit 1"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(15)
        assert isinstance(daemon.container(web).state, Waiting)
        runs = world.machine.processes["uid-web", "main"]
        await obeyed(world, daemon, web, verb, "main")
        assert world.machine.processes["uid-web", "main"] == runs + 1
        await world.clock.advance(3)
        assert world.machine.processes["uid-web", "main"] == runs + 2, "a crash loop begins anew"


@pytest.mark.parametrize("policy", list(RestartPolicy))
async def test_a_restart_is_no_crash_whatever_the_policy(policy: RestartPolicy) -> None:
    world = World()
    web = replace(WEB, spec=replace(WEB.spec, restart_policy=policy))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        for number in range(1, 5):
            await obeyed(world, daemon, web, RESTART, "main")
            assert daemon.container(web).restart_count == number
        assert daemon.container(web, "side").restart_count == 0
        assert "BackOff" not in daemon.reasons(web)
        assert not is_stopped(daemon, web)


async def test_a_restart_waits_for_the_end() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        given = command(daemon, web, RESTART, "main", grace=7)
        await world.clock.advance(6)
        assert told(given) == ["its end, after the stop signal"]
        await world.clock.advance(1)
        assert told(given) == ["done"]


async def test_a_restart_of_one_that_is_being_stopped_runs_it_again() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"), policy=NEVER)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        for verb in (START, RESTART):
            stop = command(daemon, web, STOP, "main", grace=10)
            await world.clock.advance(5)
            start = command(daemon, web, verb, "main")
            await world.clock.settle()
            assert told(stop) == ["somebody started it meanwhile"]
            await world.clock.advance(5)
            assert told(start) == ["done"]
            assert isinstance(daemon.container(web).state, Running)


async def test_a_start_while_a_probe_has_it_stopped_runs_it_again() -> None:
    world = World()
    probe = Probe(action=HttpGet(port=80), period_seconds=1, failure_threshold=1)
    web = pod("web", container("main", "trap '' TERM; sleep 9999", liveness_probe=probe), policy=NEVER)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        assert daemon.said("Killing")
        given = command(daemon, web, START, "main")
        world.machine.answers[80] = CheckResult(success=True)
        await world.clock.advance(30)
        assert told(given) == ["done"]
        assert isinstance(daemon.container(web).state, Running)


async def test_what_ended_for_good_can_be_started_while_the_pod_runs() -> None:
    world = World()
    job = pod("job", container("main", "sleep 1; exit 3"), container("side"), policy=NEVER)
    world.manifests.say(job)
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        await obeyed(world, daemon, job, STOP, "main")
        assert isinstance(daemon.container(job).state, Terminated), "it is as it was"
        await obeyed(world, daemon, job, START, "main")
        assert world.machine.processes["uid-job", "main"] == 2


async def test_a_pod_whose_containers_are_all_stopped_is_not_over() -> None:
    world = World()
    job = pod("job", container("main"), policy=NEVER)
    world.manifests.say(job)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, job, STOP)
        await world.clock.advance(100)
        assert daemon.status(job).phase is Phase.RUNNING
        await obeyed(world, daemon, job, START)


async def test_why_one_cannot_be_started() -> None:
    world = World()
    web = pod("web", container("main"), container("image", image="none"), container("broken", "/nonexistent"))
    world.machine.registry["none"] = ImageError("cannot pull")
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, web, STOP)
        world.machine.failures["start container main"] = [RuntimeFailure("cannot start: no", reason="CreateError")]
        given = command(daemon, web, START)
        await world.clock.settle()
        main, image, broken = told(given)
        assert (main, image) == ("cannot start: no", "cannot pull")
        assert "no such file" in broken


async def test_a_post_start_hook_belongs_to_the_start() -> None:
    world = World()
    good = container("good", lifecycle=Lifecycle(post_start=hook("sleep 3; exit 0")))
    bad = container("bad", lifecycle=Lifecycle(post_start=hook("sleep 1; exit 1")))
    web = pod("web", good, bad)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(60)
        given = command(daemon, web, RESTART, "good")
        await world.clock.settle()
        assert told(given) == ["its postStart hook"]
        await world.clock.advance(3)
        assert told(given) == ["done"]
        given = command(daemon, web, RESTART, "bad")
        for _ in range(20):
            await world.clock.advance(0.5)
            if given.look()[0].failure:
                break
        assert told(given) == ["its postStart hook failed"]


async def test_a_stop_ends_the_wait_of_whoever_started_it() -> None:
    world = World()
    world.machine.pull_seconds = 1000
    web = pod("web")
    world.manifests.say(web)
    async with world.daemon() as daemon:
        given = command(daemon, web, START, "main")
        command(daemon, web, STOP, "main")
        assert told(given) == ["somebody stopped it meanwhile"]


# --- init containers and sidecars


async def test_init_containers_that_are_over_are_over() -> None:
    world = World()
    web = pod("web", init=[container("one", "sleep 1; exit 0"), container("two", "sleep 5; exit 0")])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(3)
        for verb in Verb:
            with pytest.raises(ConflictError, match="an init container that is over"):
                command(daemon, web, verb, "one")
        await obeyed(world, daemon, web, STOP, "two")
        await world.clock.advance(100)
        assert is_stopped(daemon, web, "two")
        waits = command(daemon, web, START, "main")
        await world.clock.settle()
        assert told(waits) == ["init container two"]
        given = command(daemon, web, START)
        await world.clock.advance(10)
        assert told(given) == ["done", "done"]


async def test_a_sidecar_is_stopped_and_started_beside_the_others() -> None:
    world = World()
    web = pod("web", init=[sidecar("proxy")])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, web, STOP, "proxy")
        assert is_stopped(daemon, web, "proxy")
        assert isinstance(daemon.container(web).state, Running)
        await obeyed(world, daemon, web, START, "proxy")
        assert world.machine.processes == {("uid-web", "main"): 1, ("uid-web", "proxy"): 2}


@pytest.mark.parametrize("verb", [STOP, RESTART])
async def test_when_all_are_stopped_sidecars_are_last(verb: Verb) -> None:
    world = World()
    world.machine.scripts["web", "main"] = [Program(takes=3), Program()]
    web = pod("web", init=[sidecar("proxy")])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        given = command(daemon, web, verb)
        await world.clock.settle()
        assert told(given) == ["its turn", "its end, after the stop signal"]
        await world.clock.advance(3)
        assert told(given) == ["done", "done"]
        assert [name for name, _ in world.machine.signalled] == ["main", "proxy"]


# --- who asks for what is not there


async def test_what_is_not_there_is_said() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        with pytest.raises(NotFoundError, match='cannot stop pod "default/none"'):
            daemon.supervisor.command(PodName(namespace="default", name="none"), STOP, ())
        with pytest.raises(NotFoundError, match='cannot start container "none"') as raised:
            command(daemon, WEB, START, "main", "none")
        assert raised.value.hint == "it has: main, side"


async def test_a_pod_that_ended_is_stopped_and_stays_so() -> None:
    world = World()
    job = pod("job", container("main", "exit 0"), policy=NEVER)
    world.manifests.say(job)
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        await obeyed(world, daemon, job, STOP)
        for verb in (START, RESTART):
            with pytest.raises(ConflictError, match="its pod has ended"):
                command(daemon, job, verb)
        assert daemon.status(job).phase is Phase.SUCCEEDED


async def test_a_pod_that_goes_has_no_time_for_it() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        given = command(daemon, web, RESTART, "main")
        stop = command(daemon, web, STOP, "main")
        await world.clock.advance(1)
        world.manifests.say()
        await world.clock.advance(1)
        with pytest.raises(ConflictError, match="being removed"):
            command(daemon, web, STOP)
        await world.clock.advance(60)
        assert given.look() == (Progress(container="main", failure="somebody stopped it meanwhile"),)
        assert told(stop) == ["done"]


async def test_a_start_ends_with_its_pod() -> None:
    world = World()
    world.machine.pull_seconds = 1000
    web = pod("web")
    world.manifests.say(web)
    async with world.daemon() as daemon:
        given = command(daemon, web, START, "main")
        world.manifests.say()
        await world.clock.settle()
        assert told(given) == ["its pod ends"]


async def test_whoever_waits_hears_of_every_change() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        given = command(daemon, WEB, STOP, "main")
        seen: list[Sequence[str]] = []
        while not all(one.done for one in given.look()):
            await given.moved(60)
            seen.append(told(given))
        assert seen == [["its turn"], ["done"]]
        await given.moved(0.0)


# --- what else happens


async def test_a_sandbox_that_dies_does_not_bring_it_back() -> None:
    world = World()
    web = pod("web", container("main"), container("side"), init=[container("one", "exit 0")])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(1)
        await obeyed(world, daemon, web, STOP, "main")
        world.machine.kill_shim("uid-web")
        await world.clock.advance(100)
        assert is_stopped(daemon, web)
        assert world.machine.processes == {("uid-web", "one"): 2, ("uid-web", "main"): 1, ("uid-web", "side"): 2}
    async with world.daemon() as daemon:
        await world.clock.advance(100)
        assert is_stopped(daemon, web)
        await obeyed(world, daemon, web, START, "main")


async def test_when_all_are_restarted_it_stays_stopped() -> None:
    world = World()
    rule = RestartRule(action=RestartAction.RESTART_ALL_CONTAINERS, exit_codes=(42,))
    world.machine.scripts["web", "source"] = [Program(seconds=20, code=42), Program()]
    world.machine.scripts["web", "slow"] = [Program(takes=1), Program()]
    source = container("source", restart_policy=NEVER, restart_policy_rules=(rule,))
    web = pod("web", container("main"), container("slow"), source)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, web, STOP, "main")
        await world.clock.advance(20.5)
        stop = command(daemon, web, STOP, "slow")
        await world.clock.advance(60)
        assert told(stop) == ["done"]
        assert is_stopped(daemon, web)
        assert is_stopped(daemon, web, "slow")
        assert isinstance(daemon.container(web, "source").state, Running)
        assert daemon.container(web).last_state is not None


async def test_its_end_is_shown_when_the_pod_has_ended() -> None:
    world = World()
    web = pod("web", container("main"), active_deadline_seconds=50)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, web, STOP)
        await world.clock.advance(60)
        state = daemon.container(web).state
        assert isinstance(state, Terminated)
        assert state.exit_code == 143
        assert daemon.status(web).reason == "DeadlineExceeded"


async def test_what_cannot_be_written_down_is_done_all_the_same() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        world.machine.failures["record"] = [RuntimeFailure("cannot record")] * 100
        await obeyed(world, daemon, WEB, STOP, "main")
        assert daemon.said("FailedRecord")


# --- what lasts


async def test_it_stays_stopped_over_a_restart_of_nsrun_but_not_over_a_boot() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, WEB, STOP, "main")
    async with world.daemon() as daemon:
        await world.clock.advance(1000)
        assert is_stopped(daemon, WEB)
        assert daemon.container(WEB).last_state is not None
    world.machine.reboot()
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        assert isinstance(daemon.container(WEB).state, Running)


@pytest.mark.parametrize("policy", list(RestartPolicy))
async def test_a_stop_that_was_cut_off_is_gone_on_with(policy: RestartPolicy) -> None:
    world = World()
    web = pod("web", container("main", "trap 'exit 0' TERM; sleep 9999"), container("side"), policy=policy)
    world.machine.scripts["web", "main"] = [Program(takes=50, asked=0)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        command(daemon, web, STOP, "main", grace=100)
        await world.clock.advance(1)
        assert [name for name, _ in world.machine.signalled] == ["main"]
    await world.clock.advance(60)
    async with world.daemon() as daemon:
        await world.clock.advance(1000)
        assert is_stopped(daemon, web)
        assert world.machine.processes["uid-web", "main"] == 1


async def test_one_that_was_to_stop_and_still_runs_is_stopped_by_the_next() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        command(daemon, web, STOP, "main", grace=1000)
        await world.clock.advance(1)
    async with world.daemon() as daemon:
        again = command(daemon, web, STOP, "main", grace=5)
        await world.clock.advance(4)
        assert told(again) == ["its end, after the stop signal"]
        await world.clock.advance(1)
        assert told(again) == ["done"]


async def test_what_was_stopped_is_only_said_to_be_when_the_next_would_know_it() -> None:
    world = World()
    world.machine.slow["sandbox document"] = 10
    web = pod("web")
    world.manifests.say(web)
    async with world.daemon() as daemon:
        given = command(daemon, web, STOP, "main")
        await world.clock.advance(5)
        assert told(given) == ["its pod's sandbox, where that is written down"]
        start = command(daemon, web, START, "main")
        assert told(start) == ["its image"]
        await world.clock.settle()
        assert told(start) == ["its pod's sandbox"]
        given = command(daemon, web, STOP, "main")
        await world.clock.advance(10)
        assert told(given) == ["done"]


async def test_what_was_started_is_only_said_to_be_when_the_next_would_know_it() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, WEB, STOP, "main")
        world.machine.slow["record"] = 10
        given = command(daemon, WEB, START, "main")
        await world.clock.advance(5)
        assert isinstance(daemon.container(WEB).state, Running)
        assert told(given) == ["its state to be written down"]
        await world.clock.advance(10)
        assert told(given) == ["done"]


async def test_the_pod_may_go_while_its_container_is_killed() -> None:
    world = World()
    web = pod("web", container("main", "trap '' TERM; sleep 9999"))
    world.machine.slow["kill"] = 5
    world.manifests.say(web)
    async with world.daemon() as daemon:
        given = command(daemon, web, STOP, "main", grace=0)
        await world.clock.advance(1)
        assert told(given) == ["its turn"]
        world.manifests.say()
        await world.clock.advance(60)
        assert told(given) == ["done"]
        assert daemon.board.pods() == ()


async def test_labels_do_not_change_it_and_another_spec_does() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, WEB, STOP, "main")
        world.manifests.say(replace(WEB, metadata=replace(WEB.metadata, labels={"a": "b"})))
        await world.clock.advance(10)
        assert is_stopped(daemon, WEB)
        edited = pod("web", container("main", "sleep 77"), uid="uid-2")
        world.manifests.say(edited)
        await world.clock.advance(60)
        assert isinstance(daemon.container(edited).state, Running)


async def test_an_init_container_that_was_stopped_has_not_done_its_part() -> None:
    world = World()
    world.machine.scripts["web", "one"] = [Program(asked=0), Program(seconds=1)]
    web = pod("web", init=[container("one"), sidecar("proxy")])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await obeyed(world, daemon, web, STOP, "one")
    async with world.daemon() as daemon:
        await world.clock.advance(100)
        assert is_stopped(daemon, web, "one")
        assert ("uid-web", "main") not in world.machine.processes
        command(daemon, web, START, "one")
        await world.clock.advance(100)
        assert isinstance(daemon.container(web).state, Running)
        await obeyed(world, daemon, web, STOP, "proxy")
    async with world.daemon() as daemon:
        await world.clock.advance(100)
        assert is_stopped(daemon, web, "proxy")
        assert isinstance(daemon.container(web).state, Running)


async def test_a_start_before_the_stop_began_takes_it_back() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        stop, start = command(daemon, WEB, STOP, "main"), command(daemon, WEB, START, "main")
        await world.clock.advance(60)
        assert told(stop) == ["somebody started it meanwhile"]
        assert told(start) == ["done"]
        assert world.machine.processes["uid-web", "main"] == 1
