"""What is counted of what happens to pods."""

from __future__ import annotations

import pytest

from nsrun.errors import ImageError, RuntimeFailure
from nsrun.model.resources import QosClass, Quantity
from nsrun.model.status import Phase, PodStatus
from nsrun.model.volume import EmptyDir, Volume
from nsrun.supervisor.counts import DEFAULT_BOUNDS, OPERATION_BOUNDS, Counts, Histogram, eviction_signal, pull_size
from tests.contracts.fakes import fake_image
from tests.unit.supervisor.world import World, container, pod


def test_a_histogram_puts_each_value_into_one_bucket() -> None:
    seen = Histogram(bounds=(1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        seen = seen.observed(value)
    assert (seen.buckets, seen.sum, seen.count) == ((2, 1, 1), 10.0, 4)
    assert Histogram(bounds=DEFAULT_BOUNDS).count == 0


def test_the_bounds_are_the_kubelets() -> None:
    assert OPERATION_BOUNDS[:4] == (0.005, 0.0125, 0.03125, 0.078125)
    assert len(OPERATION_BOUNDS) == 14


@pytest.mark.parametrize(
    ("size", "name"),
    [(0, "0-10MB"), (10 << 20, "10MB-100MB"), (600 << 20, "500MB-1GB"), (7 << 30, "5GB-10GB"), (1 << 40, "GT100GB")],
)
def test_images_are_told_by_their_size(size: int, name: str) -> None:
    assert pull_size(size) == name


def test_evictions_are_told_by_what_was_too_much() -> None:
    assert eviction_signal('Usage of EmptyDir volume "a" exceeds the limit "1Mi". ') == "emptydirfs.limit"
    assert eviction_signal("Pod ephemeral local storage usage exceeds the total limit") == "ephemeralpodfs.limit"
    assert eviction_signal("Container a exceeded its local ephemeral storage limit") == "ephemeralcontainerfs.limit"
    assert eviction_signal("Something new") == "unknown"
    counts = Counts()
    counts.evicted("Something new")
    counts.evicted("Something new")
    assert counts.evictions == {"unknown": 2}


def test_a_pods_start_is_counted_when_it_runs() -> None:
    def status(phase: Phase, start: float | None = 100.0) -> PodStatus:
        return PodStatus(phase=phase, qos_class=QosClass.BEST_EFFORT, start_time=start)

    counts = Counts()
    counts.published(None, status(Phase.PENDING), 100.0)
    counts.published(status(Phase.PENDING), status(Phase.PENDING), 101.0)
    counts.published(status(Phase.PENDING), status(Phase.RUNNING), 103.5)
    counts.published(status(Phase.RUNNING), status(Phase.RUNNING), 110.0)
    counts.published(None, status(Phase.RUNNING), 110.0)  # found running at start
    counts.published(status(Phase.PENDING, None), status(Phase.RUNNING, None), 110.0)
    assert (counts.pod_starts.count, counts.pod_starts.sum) == (1, 3.5)


async def test_a_pods_life_is_counted() -> None:
    world = World()
    web = pod("web", container("main"), init=[container("setup", "exit 0")])
    world.machine.pull_seconds = 2.0
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        counts = daemon.counts
        assert counts.containers == {"init_container": 1, "container": 1}
        assert counts.sandboxes.count == 1
        assert counts.pod_starts.count == 1
        assert sum(seen.count for seen in counts.pulls.values()) == counts.operations["pull_image"].total
        assert sum(seen.sum for seen in counts.pulls.values()) >= 2.0
        world.manifests.say()
        await world.clock.advance(60)
        assert counts.operations["stop_container"].total >= 1
        assert counts.operations["remove_podsandbox"].total == 1
        assert all(seen.errors == 0 for seen in counts.operations.values())


async def test_what_fails_is_counted_by_its_reason() -> None:
    world = World()
    world.machine.images["busybox"] = fake_image("busybox")
    world.machine.failures["start sandbox"] = [RuntimeFailure("cannot", reason="CreatePodSandboxError")]
    world.machine.failures["container rootfs"] = [RuntimeFailure("cannot", reason="CreateContainerError")]
    world.machine.registry["gone"] = ImageError("cannot pull")
    world.manifests.say(pod("web", container("main"), container("other", image="gone")))
    async with world.daemon() as daemon:
        await world.clock.advance(30)
        counts = daemon.counts
        assert counts.sandbox_errors == 1
        assert counts.operations["run_podsandbox"].errors == 1
        assert counts.container_errors == {("container", "CreateContainerError"): 1}
        assert counts.containers == {"container": 2}
        assert counts.pulls == {}


async def test_an_eviction_is_counted() -> None:
    world = World()
    limit = Quantity(milli=1000 * 1000, text="1k")
    data = Volume(name="data", source=EmptyDir(size_limit=limit))
    world.manifests.say(pod("web", container("main", volumes=["data"]), volumes=[data]))
    world.machine.written["uid-web"] = {"data": 2000}
    async with world.daemon() as daemon:
        await world.clock.advance(60)
        assert daemon.counts.evictions == {"emptydirfs.limit": 1}
