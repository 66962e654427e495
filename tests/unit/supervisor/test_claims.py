"""Data goes only when its claim was seen to go."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nsrun.model.objects import Claim, ConfigMap, Objects
from nsrun.model.update import SourceUpdate
from nsrun.supervisor.claims import PATIENCE, ClaimKeeper
from tests.unit.supervisor.world import World, pod

A, B = ("default", "a"), ("default", "b")


def update(*claims: tuple[str, str], broken: bool = False) -> SourceUpdate:
    found = {key: Claim(namespace=key[0], name=key[1]) for key in claims}
    return SourceUpdate(
        pods=(), objects=Objects(claims=found), broken=frozenset({"/m/a.yaml"}) if broken else frozenset()
    )


def test_nothing_is_deleted_at_first() -> None:
    keeper = ClaimKeeper()
    keeper.heard(update(), 0)
    keeper.heard(update(A), 1)
    assert not keeper.gone(1000)
    assert keeper.next_due(1000) is None


def test_a_claim_that_went_goes_after_a_while_and_for_good() -> None:
    keeper = ClaimKeeper()
    keeper.heard(update(A, B), 0)
    keeper.heard(update(B), 100)
    assert not keeper.gone(100 + PATIENCE - 1)
    assert keeper.next_due(101) == 100 + PATIENCE
    assert keeper.gone(100 + PATIENCE) == {A}
    assert keeper.next_due(100 + PATIENCE) is None
    keeper.heard(update(B), 200)
    assert keeper.gone(200) == {A}, "a pod may have had it until now"
    keeper.heard(update(A, B), 300)
    assert not keeper.gone(1000)


def test_a_claim_that_comes_back_was_never_gone() -> None:
    """rm -r manifests/*; cp new/* manifests/"""
    keeper = ClaimKeeper()
    keeper.heard(update(A, B), 0)
    keeper.heard(update(), 1)
    keeper.heard(update(A), 2)
    keeper.heard(update(), 3)
    assert keeper.gone(2 + PATIENCE) == {B}
    assert keeper.gone(3 + PATIENCE) == {A, B}


def test_what_cannot_be_read_is_not_gone() -> None:
    keeper = ClaimKeeper()
    keeper.heard(update(A, B), 0)
    keeper.heard(update(B, broken=True), 1)
    assert not keeper.gone(1000)
    keeper.heard(update(B), 1000)
    assert keeper.gone(2000) == {A}


def test_a_directory_that_is_not_there_takes_nothing_along() -> None:
    keeper = ClaimKeeper()
    keeper.heard(update(A), 0)
    keeper.heard(replace(update(), missing=True), 1)
    assert not keeper.gone(1000)
    keeper.heard(update(), 1000)
    assert keeper.gone(2000) == {A}


async def test_the_directory_goes_with_the_manifest_and_stays_when_all_is_taken_down() -> None:
    world = World()
    world.machine.claims = {A, B, ("default", "of-another-directory")}
    world.manifests.update(update(A))
    async with world.daemon():
        assert len(world.machine.claims) == 3
        world.manifests.update(update(A, B))
        await world.clock.settle()
        world.manifests.update(update(A))
        await world.clock.advance(PATIENCE - 1)
        assert len(world.machine.claims) == 3
        await world.clock.advance(1)
        assert world.machine.claims == {A, ("default", "of-another-directory")}
    async with world.daemon() as daemon:
        ending = asyncio.create_task(daemon.supervisor.down())
        await world.clock.settle()
        await ending
    assert world.machine.claims == {A, ("default", "of-another-directory")}


async def test_workers_are_told_what_pods_can_refer_to() -> None:
    world = World()
    web = pod("web")
    first = Objects(config_maps={("default", "c"): ConfigMap(namespace="default", name="c", data={"k": b"1"})})
    second = Objects(config_maps={("default", "c"): ConfigMap(namespace="default", name="c", data={"k": b"2"})})
    world.manifests.update(SourceUpdate(pods=(web,), objects=first))
    async with world.daemon() as daemon:
        (worker,) = daemon.supervisor._workers.values()
        assert worker.facts.objects == first
        world.manifests.update(SourceUpdate(pods=(web,), objects=second))
        await world.clock.settle()
        assert worker.facts.objects == second
    async with world.daemon() as daemon:
        (worker,) = daemon.supervisor._workers.values()
        assert worker.facts.objects == second, "a pod that was found is told too"
