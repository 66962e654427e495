"""A source that has not said anything yet: what may be its own is left alone."""

from __future__ import annotations

from dataclasses import replace

from nsrun.model.pod import Pod
from nsrun.model.update import MANIFEST_ANNOTATION, SourceUpdate
from tests.unit.supervisor.world import World, pod

URL = "http://example.com/pods.yaml"


def from_url(name: str) -> Pod:
    made = pod(name)
    return replace(made, metadata=replace(made.metadata, annotations={MANIFEST_ANNOTATION: URL}))


async def test_its_pods_run_on_while_the_others_come_and_go() -> None:
    world = World()
    far, near = from_url("far"), pod("near")
    world.manifests.say(far)
    async with world.daemon() as daemon:
        assert daemon.status(far).phase == "Running"
    silent = SourceUpdate(pods=(near,), broken=frozenset({URL}), partial=True)
    world.manifests.update(silent)
    async with world.daemon() as daemon:
        assert daemon.status(far).phase == "Running"
        assert daemon.status(near).phase == "Running"
        await world.clock.advance(1000)
        world.manifests.update(replace(silent, pods=()))
        await world.clock.advance(100)
        assert [one.name.name for one, _ in daemon.board.pods()] == ["far"]
        # It speaks at last, and wants it no more.
        world.manifests.say()
        await world.clock.advance(100)
        assert daemon.board.pods() == ()
    assert world.machine.owners() == set()
    assert world.machine.violations == []
    assert [id.uid for id in world.machine.began].count(far.uid) == 1


async def test_what_lies_about_waits_for_it_unless_it_is_in_the_way() -> None:
    """After a reboot, when its pods are nothing but directories: their volumes may be wanted in a moment."""
    world = World()
    far, gone = from_url("far"), pod("gone")
    for uid, name in ((far.uid, far.name), (gone.uid, gone.name), ("uid-old-near", pod("near").name)):
        world.machine.volumes[uid] = {"data"}
        world.machine.logged[uid] = name
    world.manifests.update(SourceUpdate(pods=(pod("near"),), broken=frozenset({URL}), partial=True))
    async with world.daemon() as daemon:
        await world.clock.advance(100)
        assert daemon.status(pod("near")).phase == "Running"
        assert {far.uid, gone.uid} <= world.machine.volumes.keys()
        assert "uid-old-near" not in world.machine.volumes
        world.manifests.say(pod("near"), far)
        await world.clock.advance(100)
        assert gone.uid not in world.machine.volumes
        assert far.uid in world.machine.volumes
        assert daemon.status(far).phase == "Running"
    assert world.machine.violations == []


async def test_a_pod_that_nobody_can_read_waits_for_it_too() -> None:
    world = World()
    far = from_url("far")
    world.manifests.say(far)
    async with world.daemon():
        pass
    world.machine.pods[far.uid].document = {"spec": "of another nsrun"}
    world.manifests.update(SourceUpdate(pods=(), broken=frozenset({URL}), partial=True))
    async with world.daemon() as daemon:
        await world.clock.advance(100)
        assert far.uid in world.machine.pods
        world.manifests.say(far)
        await world.clock.advance(100)
        assert daemon.status(far).phase == "Running"
    assert world.machine.violations == []
