"""imagePullSecrets: what they say, and what happens when they do not say it yet."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from nsrun.model.credentials import Credential
from nsrun.model.objects import Objects, Secret
from nsrun.model.pod import Pod
from nsrun.model.status import Phase, Waiting
from nsrun.model.update import SourceUpdate
from nsrun.model.volume import ImageVolume, Volume
from nsrun.supervisor.pull_secrets import pull_secrets
from tests.unit.supervisor.world import World, container, pod

JSON, OLD = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
IMAGE = "registry.example/team/app"
TOLD = "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed."


def auths(user: str, password: str = "p", key: str = "registry.example") -> dict[str, dict[str, str]]:
    return {key: {"auth": b64encode(f"{user}:{password}".encode()).decode()}}


def secret(name: str = "pull", namespace: str = "default", *, user: str = "u", password: str = "p") -> Secret:
    data = {".dockerconfigjson": json.dumps({"auths": auths(user, password)}).encode()}
    return Secret(namespace=namespace, name=name, type=JSON, data=data)


def objects(*secrets: Secret) -> Objects:
    return Objects(secrets={(each.namespace, each.name): each for each in secrets})


def private(*names: str) -> Pod:
    return pod("web", container("main", image=IMAGE), image_pull_secrets=names or ("pull",))


def test_both_types_are_read_in_the_order_of_the_pod() -> None:
    old = Secret(namespace="default", name="old", type=OLD, data={".dockercfg": json.dumps(auths("old")).encode()})
    found = pull_secrets(private("pull", "old", "pull"), objects(old, secret()))
    assert found.unusable == ()
    assert found.credentials.find("registry.example", "team/app") == (
        Credential(username="u", password="p", secret="default/pull"),
        Credential(username="old", password="p", secret="default/old"),
    )


def test_secrets_of_another_namespace_are_not_the_pods() -> None:
    found = pull_secrets(private(), objects(secret(namespace="other")))
    assert found.unusable == ("pull",)
    assert found.credentials.entries == ()


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (Secret(namespace="default", name="pull", data={"x": b"HIDDEN"}), f"its type is not {JSON} or {OLD}"),
        (Secret(namespace="default", name="pull", type=JSON, data={".dockerconfigjson": b"HIDDEN"}), "it is not JSON"),
        (
            Secret(namespace="default", name="pull", type=OLD, data={".dockercfg": b'{"h": "HIDDEN"}'}),
            'the entry "h" must be an object',
        ),
    ],
)
def test_what_cannot_be_used_is_told_without_what_it_says(broken: Secret, cause: str) -> None:
    found = pull_secrets(private("pull", "second"), objects(broken, secret("second")))
    assert found.unusable == (f"pull: {cause}",)
    assert len(found.credentials.entries) == 1
    assert "HIDDEN" not in repr(found)


async def test_an_image_is_pulled_with_the_pods_secret() -> None:
    world = World()
    world.machine.private[IMAGE] = ("u", "p")
    world.manifests.update(SourceUpdate(pods=(private(),), objects=objects(secret())))
    async with world.daemon() as daemon:
        assert daemon.status(private()).phase is Phase.RUNNING
        assert daemon.said("FailedToRetrieveImagePullSecret") == []


async def test_the_image_of_a_volume_is_pulled_with_it_too() -> None:
    world = World()
    world.machine.private[IMAGE] = ("u", "p")
    volume = Volume(name="v", source=ImageVolume(reference=IMAGE, pull_policy="IfNotPresent"))
    web = pod("web", container("main", volumes=["v"]), volumes=[volume], image_pull_secrets=("pull",))
    world.manifests.update(SourceUpdate(pods=(web,), objects=objects(secret())))
    async with world.daemon() as daemon:
        assert daemon.status(web).phase is Phase.RUNNING


async def test_a_missing_secret_is_told_and_the_image_pulled_all_the_same() -> None:
    world = World()
    world.manifests.update(SourceUpdate(pods=(private("one", "pull", "two"),), objects=objects(secret())))
    async with world.daemon() as daemon:
        assert daemon.status(private()).phase is Phase.RUNNING
        assert set(daemon.said("FailedToRetrieveImagePullSecret")) == {TOLD.format("one, two")}


async def test_a_secret_that_comes_or_changes_serves_at_once() -> None:
    world = World()
    world.machine.private[IMAGE] = ("u", "new")
    world.manifests.say(private())
    async with world.daemon() as daemon:
        for password in ("old", "new"):
            state = daemon.container(private()).state
            assert isinstance(state, Waiting)
            assert state.reason in ("ErrImagePull", "ImagePullBackOff")
            world.manifests.update(SourceUpdate(pods=(private(),), objects=objects(secret(password=password))))
            await world.clock.settle()
        assert daemon.status(private()).phase is Phase.RUNNING
        shown = " ".join(event.message for event in daemon.board.happened)
        assert "new" not in shown
        assert b64encode(b"u:new").decode() not in shown


async def test_a_pod_of_another_namespace_gets_nothing() -> None:
    world = World()
    world.machine.private[IMAGE] = ("u", "p")
    world.manifests.update(SourceUpdate(pods=(private(),), objects=objects(secret(namespace="other"))))
    async with world.daemon() as daemon:
        assert isinstance(daemon.container(private()).state, Waiting)
        assert daemon.said("FailedToRetrieveImagePullSecret")


async def test_nothing_is_pulled_before_it_is_known_what_the_secrets_say() -> None:
    """A pod that was found running, whose image is gone, waits for the first word of its source."""
    world = World()
    world.machine.private[IMAGE] = ("u", "p")
    world.manifests.update(SourceUpdate(pods=(private(),), objects=objects(secret())))
    async with world.daemon():
        pass
    world.machine.images.clear()
    world.manifests.silence()
    calls = len(world.machine.calls)
    async with world.daemon() as daemon:
        (run,) = world.machine.pods[private().uid].runs.values()
        world.machine.end(run, code=1)
        await world.clock.advance(600)
        assert f"ensure {IMAGE}" not in world.machine.calls[calls:]
        world.manifests.update(SourceUpdate(pods=(private(),), objects=objects(secret())))
        await world.clock.advance(600)
        assert daemon.status(private()).phase is Phase.RUNNING
        assert daemon.said("FailedToRetrieveImagePullSecret") == []
