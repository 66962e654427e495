"""What pods refer to: ConfigMaps, Secrets, claims, images of volumes, and the pod's own fields."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.errors import ImageError, VolumeError
from nsrun.model.environment import EnvFrom, EnvVar, FieldRef, KeyRef, ObjectKind
from nsrun.model.objects import Claim, ConfigMap, Objects, PersistentVolume, Secret
from nsrun.model.pod import Pod
from nsrun.model.status import Phase, Running, Waiting
from nsrun.model.update import SourceUpdate
from nsrun.model.volume import (
    ClaimVolume,
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    ImageVolume,
    ProjectedVolume,
    SecretVolume,
    Volume,
    VolumeSource,
)
from nsrun.supervisor.references import environment_view, shows_itself, volume_view
from tests.unit.supervisor.world import Daemon, World, container, pod


def objects(**values: bytes) -> Objects:
    """A ConfigMap ``config`` and a Secret ``secret`` with these keys each, as far as they are named so."""
    config = {k: v for k, v in values.items() if not k.startswith("secret")}
    secret = {k: v for k, v in values.items() if k.startswith("secret")}
    return Objects(
        config_maps={("default", "config"): ConfigMap(namespace="default", name="config", data=config)}
        if config
        else {},
        secrets={("default", "secret"): Secret(namespace="default", name="secret", data=secret)} if secret else {},
    )


def mounting(source: VolumeSource) -> Pod:
    return pod("web", container("main", volumes=["v"]), volumes=[Volume(name="v", source=source)])


def say(world: World, known: Objects, *pods: Pod) -> None:
    world.manifests.update(SourceUpdate(pods=pods, objects=known))


def waiting(daemon: Daemon, of: Pod) -> Waiting:
    state = daemon.container(of).state
    assert isinstance(state, Waiting)
    return state


CONFIG = ConfigMapVolume(name="config")
DOWNWARD = DownwardVolume(items=(DownwardFile(path="labels", source=FieldRef(field_path="metadata.labels")),))


# --- volumes


async def test_a_missing_object_is_waited_for() -> None:
    world, web = World(), mounting(CONFIG)
    say(world, Objects(), web)
    async with world.daemon() as daemon:
        await world.clock.advance(100)
        assert waiting(daemon, web).reason == "ContainerCreating"
        assert 'ConfigMap "config" is missing' in waiting(daemon, web).message
        assert "FailedMount" in daemon.reasons(web)
        said = [event.message for event in daemon.board.happened if event.reason == "FailedMount"]
        assert said[0].startswith("cannot prepare volume "), "said once what cannot be done"
        say(world, objects(key=b"1"), web)
        await world.clock.settle()
        assert daemon.status(web).phase is Phase.RUNNING, "at once, whatever the backoff"


async def test_a_change_reaches_the_volumes_that_show_it() -> None:
    world, web = World(), mounting(CONFIG)
    other = pod("other")
    say(world, objects(key=b"1"), web, other)
    async with world.daemon():
        assert world.machine.refreshed == []
        say(world, objects(key=b"2"), web, other)
        await world.clock.settle()
        assert world.machine.refreshed == [web.uid], "and no others"
        say(world, objects(key=b"2", secret=b"x"), web, other)
        await world.clock.settle()
        assert world.machine.refreshed == [web.uid], "what it does not refer to does not concern it"


async def test_a_refresh_that_fails_is_tried_again() -> None:
    world, web = World(), mounting(CONFIG)
    world.machine.failures["refresh"] = [VolumeError("cannot write: no space left")]
    say(world, objects(key=b"1"), web)
    async with world.daemon() as daemon:
        say(world, objects(key=b"2"), web)
        await world.clock.settle()
        assert world.machine.refreshed == []
        assert "FailedMount" in daemon.reasons(web)
        await world.clock.advance(1)
        assert world.machine.refreshed == [web.uid]


async def test_a_change_during_a_refresh_is_followed_by_another() -> None:
    world, web = World(), mounting(CONFIG)
    world.machine.slow["refresh"] = 5
    say(world, objects(key=b"1"), web)
    async with world.daemon():
        say(world, objects(key=b"2"), web)
        await world.clock.advance(1)
        say(world, objects(key=b"3"), web)
        await world.clock.advance(100)
        assert world.machine.refreshed == [web.uid] * 2


async def test_labels_reach_the_volumes_that_show_them() -> None:
    world, web = World(), mounting(DOWNWARD)
    other = pod("other")
    world.manifests.say(web, other)
    async with world.daemon():
        labelled = [replace(p, metadata=replace(p.metadata, labels={"a": "b"})) for p in (web, other)]
        world.manifests.say(*labelled)
        await world.clock.settle()
        assert world.machine.refreshed == [web.uid]


async def test_an_adopted_pod_waits_for_what_it_refers_to_and_others_do_not() -> None:
    world = World()
    web, other = mounting(CONFIG), pod("other", container("main", volumes=["v"]), volumes=["v"])
    say(world, objects(key=b"1"), web, other)
    async with world.daemon():
        pass
    world.manifests.silence()
    world.machine.calls.clear()
    async with world.daemon() as daemon:
        assert world.machine.calls.count("prepare") <= 1
        say(world, objects(key=b"1"), web, other)
        await world.clock.settle()
        assert world.machine.calls.count("prepare") == 2
        assert world.machine.refreshed == []
        assert daemon.status(web).phase is Phase.RUNNING


# --- variables


def with_variable() -> Pod:
    source = KeyRef(kind=ObjectKind.CONFIG_MAP, name="config", key="key")
    return pod("web", container("main", env=(EnvVar(name="A", source=source),)))


async def test_a_variable_without_its_object_is_waited_for() -> None:
    world, web = World(), with_variable()
    say(world, Objects(), web)
    async with world.daemon() as daemon:
        await world.clock.advance(100)
        assert waiting(daemon, web).reason == "CreateContainerConfigError"
        assert "config" in waiting(daemon, web).message
        assert world.machine.processes == {}
        say(world, objects(key=b"1"), web)
        await world.clock.settle()
        assert isinstance(daemon.container(web).state, Running)
        assert daemon.container(web).restart_count == 0
        assert world.machine.requests[-1].container.env == (EnvVar(name="A", value="1"),)
        assert world.machine.refreshed == []


async def test_a_container_that_runs_keeps_its_variables() -> None:
    world, web = World(), with_variable()
    say(world, objects(key=b"1"), web)
    async with world.daemon() as daemon:
        say(world, Objects(), web)
        await world.clock.advance(100)
        assert isinstance(daemon.container(web).state, Running)


# --- images of volumes


async def test_the_image_of_a_volume_is_there_before_the_volume_is() -> None:
    world = World()
    web = mounting(ImageVolume(reference="data", pull_policy="Always"))
    world.machine.slow["pulled data"] = 5
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(4)
        assert "prepare" not in world.machine.calls
        await world.clock.advance(1)
        assert daemon.status(web).phase is Phase.RUNNING
        assert 'Pulling image "data"' in daemon.said("Pulling")
    assert world.machine.violations == []


async def test_the_image_of_a_volume_that_cannot_be_had() -> None:
    world = World()
    world.machine.registry["data"] = ImageError("cannot pull: no such image")
    web = mounting(ImageVolume(reference="data", pull_policy="IfNotPresent"))
    web = replace(web, spec=replace(web.spec, containers=(*web.spec.containers, container("other"))))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(1)
        assert waiting(daemon, web).reason == "ImagePullBackOff"
        assert waiting(daemon, web).message == (
            'Back-off pulling image "data": ErrImagePull: cannot pull: no such image'
        )
        other = daemon.container(web, "other").state
        assert other == Waiting(reason="ContainerCreating")
        del world.machine.registry["data"]
        await world.clock.advance(10)
        assert daemon.status(web).phase is Phase.RUNNING


async def test_the_image_of_a_volume_that_must_be_there_and_is_not() -> None:
    world = World()
    web = mounting(ImageVolume(reference="data", pull_policy="Never"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert waiting(daemon, web).reason == "ErrImageNeverPull"
        world.machine.images["data"] = world.machine.images["busybox"]
        daemon.supervisor.retry_pulls()
        await world.clock.settle()
        assert daemon.status(web).phase is Phase.RUNNING, "at once"


# --- views


def test_a_view_is_of_what_is_referred_to() -> None:
    known = objects(key=b"1", secret=b"2")
    projected = ProjectedVolume(sources=(CONFIG, SecretVolume(name="secret"), DOWNWARD))
    view = volume_view(mounting(projected), known)
    assert set(view) == {(ObjectKind.CONFIG_MAP, "config"), (ObjectKind.SECRET, "secret")}
    assert volume_view(mounting(CONFIG), Objects()) == {(ObjectKind.CONFIG_MAP, "config"): None}
    assert volume_view(pod(), known) == {}
    assert environment_view(mounting(CONFIG), known) == {}
    everything = container("i", env_from=(EnvFrom(kind=ObjectKind.SECRET, name="secret"),), env=(EnvVar(name="X"),))
    assert set(environment_view(pod("web", init=[everything]), known)) == {(ObjectKind.SECRET, "secret")}


def test_of_a_claim_any_volume_may_come_to_fit() -> None:
    claims = {("default", "c"): Claim(namespace="default", name="c")}
    volumes = {"pv": PersistentVolume(name="pv", path="/srv")}
    view = volume_view(mounting(ClaimVolume(claim_name="c")), Objects(claims=claims, volumes=volumes))
    assert set(view) == {(ObjectKind.CLAIM, "c"), (ObjectKind.VOLUME, "pv")}


@pytest.mark.parametrize(
    ("source", "shows"), [(DOWNWARD, True), (ProjectedVolume(sources=(DOWNWARD,)), True), (CONFIG, False)]
)
def test_which_pods_show_themselves(source: VolumeSource, shows: bool) -> None:
    assert shows_itself(mounting(source)) is shows
