"""Attach, detach, crash, restart, repair: what was made is found again, finished or unmade."""

from __future__ import annotations

import asyncio
import itertools
import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from nsrun.errors import NetworkError
from nsrun.model.pod import Pod
from nsrun.network.podnet import Plumbing, link_name
from nsrun.network.service import NetworkService
from tests.system.network.world import CIDR, HOST, OUTSIDE, World, make_pod, published, run
from tests.waiting import eventually_async

pytestmark = [pytest.mark.root, pytest.mark.network]

STEPS = 6
CYCLES = 200


def begin(world: World, pod: Pod, *, steps: int) -> None:
    """Attaches as far as a supervisor gets that is killed after so many steps."""
    with Plumbing(world.service._site, name=pod.name, uid=pod.uid, pod=pod) as plumbing:
        for step in plumbing.steps()[:steps]:
            step.do()


def break_off(world: World, pod: Pod, *, steps: int) -> None:
    """Detaches as far as a supervisor gets that is killed after so many undone steps."""
    with Plumbing(world.service._site, name=pod.name, uid=pod.uid) as plumbing:
        for step in tuple(reversed(plumbing.steps()))[:steps]:
            step.undo()


async def check(world: World, pod: Pod) -> None:
    """The pod is whole."""
    attachment = await world.attach(pod)
    place = Path(attachment.netns).name
    assert world.tcp("outside", (HOST, 8080), (place, 80)) == OUTSIDE
    assert world.tcp(place, (OUTSIDE, 80), ("outside", 80)) == HOST


def test_there_are_as_many_steps_as_crashes_are_tried(world: World) -> None:
    with Plumbing(world.service._site, name=make_pod("a").name, uid="u") as plumbing:
        assert len(plumbing.steps()) == STEPS


async def test_attaching_twice_changes_nothing(world: World) -> None:
    pod = make_pod("a", published(8080))
    first = await world.attach(pod)
    hosts = world.layout.etc_hosts(pod.uid)
    hosts.write_text(hosts.read_text() + "192.0.2.9\tadded-by-a-container\n")
    before = run("ip link"), run("nft list ruleset"), hosts.read_text(), hosts.stat().st_ino
    assert await world.service.attach(pod) == first
    assert before == (run("ip link"), run("nft list ruleset"), hosts.read_text(), hosts.stat().st_ino)


async def test_detaching_what_was_never_attached_is_fine(world: World) -> None:
    pod = make_pod("a")
    await world.service.detach(pod.name, pod.uid)
    await world.attach(pod)
    await world.service.detach(pod.name, pod.uid)
    await world.service.detach(pod.name, pod.uid)
    assert world.leftovers() == []


@pytest.mark.parametrize("steps", range(STEPS + 1))
async def test_crash_while_attaching_then_attach(world: World, steps: int) -> None:
    pod = make_pod("a", published(8080))
    begin(world, pod, steps=steps)
    await world.another_service().start()
    await check(world, pod)


@pytest.mark.parametrize("steps", range(STEPS + 1))
async def test_crash_while_attaching_then_detach(world: World, steps: int) -> None:
    pod = make_pod("a", published(8080))
    begin(world, pod, steps=steps)
    again = world.another_service()
    assert await again.owners() == ({(pod.name, pod.uid)} if steps else set())
    await again.detach(pod.name, pod.uid)
    assert world.leftovers() == []


@pytest.mark.parametrize("steps", range(STEPS + 1))
async def test_crash_while_detaching(world: World, steps: int) -> None:
    pod = make_pod("a", published(8080))
    await world.attach(pod)
    break_off(world, pod, steps=steps)
    again = world.another_service()
    if steps < STEPS:  # after the last, the link may live on for a moment, and say whose it is
        assert await again.owners() == {(pod.name, pod.uid)}
    await again.detach(pod.name, pod.uid)
    assert world.leftovers() == []


@pytest.mark.parametrize("steps", range(STEPS))
async def test_crash_while_detaching_then_attach(world: World, steps: int) -> None:
    pod = make_pod("a", published(8080))
    await world.attach(pod)
    break_off(world, pod, steps=steps)
    await check(world, pod)


@pytest.mark.parametrize("step", range(1, STEPS))
async def test_a_failed_attempt_leaves_nothing(world: World, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = ("_take_lease", "_pin", "_plug", "_configure", "_admit", "_write_files")

    def fail(_: Plumbing) -> None:
        raise OSError(28, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(Plumbing, methods[step], fail)
        with pytest.raises(NetworkError, match='cannot attach pod "default/a" to the network: no space left on device'):
            await world.attach(make_pod("a", published(8080)))
    assert world.leftovers() == []


async def test_a_failed_repetition_leaves_the_pod_attached(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = make_pod("a", published(8080))
    await world.attach(pod)

    def fail(_: Plumbing) -> None:
        raise OSError(28, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(Plumbing, "_admit", fail)
        with pytest.raises(NetworkError):
            await world.attach(pod)
    assert world.tcp("outside", (HOST, 8080), ("default_a", 80)) == OUTSIDE


@pytest.mark.parametrize("debris", ["file", "directory of its own", "pin without link"])
async def test_a_pin_left_by_a_crash_is_no_obstacle(world: World, debris: str) -> None:
    pod = make_pod("a", published(8080))
    pin = world.layout.netns(pod.name)
    if debris == "pin without link":
        run(f"ip netns add {pin.name}")
    else:
        pin.parent.mkdir(exist_ok=True)
        os.close(os.open(pin, os.O_CREAT | os.O_EXCL, 0))
    await check(world, pod)


async def test_a_namespace_of_somebody_else_is_left_alone(world: World) -> None:
    run("ip netns add default_a")
    run("ip link add eth0 netns default_a type bridge")
    with pytest.raises(NetworkError, match='cannot use network namespace "/run/netns/default_a"'):
        await world.attach(make_pod("a"))
    assert "eth0" in run("ip netns exec default_a ip link")
    run("ip netns del default_a")


async def test_a_pod_made_again_under_its_name_is_not_undone_with_the_old_one(world: World) -> None:
    old, new = make_pod("a", published(8080), uid="old"), make_pod("a", published(8081), uid="new")
    await world.attach(old)
    await world.attach(new)
    await world.service.detach(old.name, old.uid)
    assert world.tcp("outside", (HOST, 8081), ("default_a", 80)) == OUTSIDE
    assert await world.service.owners() == {(new.name, new.uid)}


async def test_a_lost_pin_is_made_again(world: World) -> None:
    """Somebody said ``ip netns delete``: the old namespace lives on in the pod's processes, with the old link."""
    pod = make_pod("a", published(8080))
    await world.attach(pod)
    with world.listener("default_a", "0.0.0.0", 81):
        run("ip netns del default_a")
        await check(world, pod)


async def test_pods_outlive_the_service(world: World) -> None:
    pod = make_pod("a", published(8080))
    before = await world.attach(pod)
    again = world.another_service()
    await again.start()
    assert await again.owners() == {(pod.name, pod.uid)}
    assert await again.attach(pod) == before
    await check(world, pod)
    assert (await again.attach(make_pod("b"))).address == "10.88.0.3"
    await again.detach(pod.name, pod.uid)
    assert (await again.attach(make_pod("c"))).address == "10.88.0.4"  # not the address that has just become free


async def test_a_flushed_ruleset_is_repaired_at_start(world: World) -> None:
    pod = make_pod("a", published(8080))
    await world.attach(pod)
    before = run("nft list ruleset")
    run("nft flush ruleset")
    await world.another_service().start()
    assert run("nft list ruleset") == before
    await check(world, pod)


async def test_a_flushed_ruleset_is_repaired_by_the_next_pod(world: World) -> None:
    pod = make_pod("a", published(8080))
    await world.attach(pod)
    run("nft flush ruleset")
    await world.attach(make_pod("b"))
    await check(world, pod)


async def test_a_flushed_ruleset_is_repaired_at_once_under_guard(world: World) -> None:
    await world.attach(make_pod("a", published(8080)))
    before = run("nft list ruleset")
    async with asyncio.TaskGroup() as group:
        guard = group.create_task(world.service.guard())
        for _ in range(3):
            run("nft flush ruleset")
            await eventually_async(lambda: run("nft list ruleset") == before, every=0.05, what="the tables are back")
        guard.cancel()


async def test_a_deleted_bridge_is_repaired_at_start_and_attach(world: World) -> None:
    pod = make_pod("a", published(8080))
    await world.attach(pod)
    run("ip link del nsrun0")
    with pytest.raises(NetworkError, match='bridge "nsrun0" is gone'):
        await world.attach(make_pod("b"))
    await world.service.start()
    await check(world, pod)


@pytest.mark.slow
async def test_many_cycles_leave_nothing(world: World) -> None:
    pods = itertools.cycle([make_pod(f"p{n}", published(8000 + n)) for n in range(5)])
    for _ in range(CYCLES):
        pod = next(pods)
        await world.service.attach(pod)
        await world.service.detach(pod.name, pod.uid)
    assert world.leftovers() == []


async def test_many_at_once(world: World) -> None:
    pods = [make_pod(f"p{n}", published(8000 + n)) for n in range(20)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.attach(pod)) for pod in pods]
    addresses = {task.result().address for task in tasks}
    assert len(addresses) == len(pods)
    for n in (0, 7, 19):
        assert world.tcp("outside", (HOST, 8000 + n), (f"default_p{n}", 80)) == OUTSIDE
    async with asyncio.TaskGroup() as group:
        for pod in pods:
            group.create_task(world.service.detach(pod.name, pod.uid))
    assert world.leftovers() == []


async def test_one_host_port_asked_for_at_once_by_many_goes_to_one(world: World) -> None:
    results = await asyncio.gather(
        *(world.attach(make_pod(f"p{n}", published(8080))) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, NetworkError) for result in results) == 7


async def test_a_cancelled_attach_can_be_detached(world: World) -> None:
    pod = make_pod("a", published(8080))
    for _ in range(10):
        attempt = asyncio.ensure_future(world.service.attach(pod))
        await asyncio.sleep(0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await world.service.detach(pod.name, pod.uid)
        await eventually_async(lambda: world.leftovers() == [], what="nothing is left")


async def test_the_range_must_be_free_on_this_machine(world: World) -> None:
    service = NetworkService(layout=world.layout, pod_cidr=IPv4Network("198.51.0.0/16"), bridge="nsrun0")
    with pytest.raises(NetworkError, match=r'198.51.100.0/24 is routed by "up0" already') as caught:
        await service.start()
    assert caught.value.hint == "choose a free range with --pod-cidr"


async def test_the_range_cannot_change_under_running_pods(world: World) -> None:
    pod = make_pod("a")
    await world.attach(pod)
    other = NetworkService(layout=world.layout, pod_cidr=IPv4Network("10.99.0.0/24"))
    with pytest.raises(NetworkError, match=r'pod "default/a" runs at 10\.88\.0\.2'):
        await other.start()
    await world.service.detach(pod.name, pod.uid)
    await other.start()
    assert "10.99.0.1/24" in run("ip -br addr show nsrun0")
    assert str(CIDR.network_address + 1) not in run("ip -br addr show nsrun0")


async def test_tear_down_leaves_the_machine_as_it_was(world: World) -> None:
    await world.service.tear_down()
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    forwarding.write_text("0")
    before = run("ip -br link"), run("nft list ruleset"), run("iptables -S")
    await world.service.start()
    assert forwarding.read_text().strip() == "1"
    await world.service.tear_down()
    await world.service.tear_down()
    assert forwarding.read_text().strip() == "0"
    assert before == (run("ip -br link"), run("nft list ruleset"), run("iptables -S"))
    assert link_name("x", "b") != link_name("y", "b")


async def test_start_again_and_again(world: World) -> None:
    await eventually_async(lambda: "state DOWN" in run("ip link show nsrun0"), what="without a port it has no carrier")
    before = run("ip link show nsrun0"), run("nft list ruleset"), run("ip addr")
    for _ in range(3):
        assert await world.service.start() == ()
    assert before == (run("ip link show nsrun0"), run("nft list ruleset"), run("ip addr"))


async def test_ip_netns_in_parallel_with_the_service(world: World) -> None:
    """Both prepare /run/netns; neither may mount it over itself again and again."""
    theirs = (asyncio.to_thread(run, f"ip netns add mine{n}") for n in range(8))
    await asyncio.gather(*theirs, *(world.attach(make_pod(f"p{n}")) for n in range(8)))
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    assert sum(line.split()[4] == "/run/netns" for line in mounts) == 1
    for n in range(8):
        run(f"ip netns del mine{n}")
