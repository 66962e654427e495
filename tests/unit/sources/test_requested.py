"""Pods that were asked for one by one."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nsrun.errors import ManifestError, NsrunError
from nsrun.model.uid import CONFIG_SOURCE
from nsrun.model.update import MANIFEST_ANNOTATION
from nsrun.sources.requested import BOOT_ANNOTATION, RequestedPods
from nsrun.support.layout import PodName
from tests.unit.sources.following import Follower, follow, manifest

WEB = PodName(namespace="default", name="web")


def asked(name: str = "web", policy: str = "Never") -> bytes:
    return f"{manifest(name)}  restartPolicy: {policy}\n".encode()


def source(directory: Path, boot: str = "this") -> RequestedPods:
    return RequestedPods(directory, node_name="node", boot_id=boot)


@asynccontextmanager
async def following(directory: Path, boot: str = "this") -> AsyncIterator[tuple[RequestedPods, Follower]]:
    requested = source(directory, boot)
    async with follow(requested) as follower:
        yield requested, follower


async def test_a_pod_is_there_until_it_is_taken_back(tmp_path: Path) -> None:
    async with following(tmp_path / "r") as (requested, follower):
        assert follower.pods == []
        pod, warnings = await requested.add(asked())
        assert warnings == ()
        assert (await follower.until_pods("web")).pods == (pod,)
        assert pod.metadata.annotations[CONFIG_SOURCE] == "api"
        assert pod.metadata.annotations[MANIFEST_ANNOTATION] == str(tmp_path / "r" / "default_web.json")
        assert requested.holds(WEB)
        assert await requested.remove(WEB)
        await follower.until_pods()
        assert not await requested.remove(WEB)
        assert not requested.holds(WEB)
        again, _ = await requested.add(asked())
        assert again.uid != pod.uid


async def test_the_next_nsrun_has_the_same_pods(tmp_path: Path) -> None:
    """With their UIDs; what was cut off while it was written is nobody's."""
    pod, _ = await source(tmp_path).add(asked())
    (tmp_path / ".default_x.json.1234.tmp").write_text("{")
    async with following(tmp_path) as (requested, follower):
        assert follower.last.pods == (pod,)
        assert requested.holds(WEB)
    assert os.listdir(tmp_path) == ["default_web.json"]
    assert (tmp_path / "default_web.json").stat().st_mode & 0o777 == 0o600


async def test_only_what_is_always_restarted_outlives_the_boot(tmp_path: Path) -> None:
    first = source(tmp_path, "before")
    for name, policy in (("a", "Never"), ("b", "OnFailure"), ("c", "Always")):
        pod, _ = await first.add(asked(name, policy))
        assert (BOOT_ANNOTATION in pod.metadata.annotations) == (policy != "Always")
    async with following(tmp_path, "after") as (_, follower):
        assert follower.pods == ["c"]
    assert os.listdir(tmp_path) == ["default_c.json"]


@pytest.mark.parametrize(
    ("document", "problems"),
    [
        (b"", ["pod: is empty"]),
        (b"{}", ["pod:1:1: "]),
        (b"# nothing", ["pod: must be one Pod, and nothing else"]),
        (asked("a") + b"---\n" + asked("b"), ["pod: must be one Pod, and nothing else"]),
        (
            asked() + b"---\nkind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\n",
            ["pod: must be one Pod, and nothing else"],
        ),
        (
            b"kind: Pod\napiVersion: v1\nmetadata: {name: A}\nspec: {containers: [{name: c}]}",
            ["pod:3:18: metadata.name: ", "pod:4:21: spec.containers[0].image: is required"],
        ),
    ],
)
async def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, document: bytes, problems: list[str]) -> None:
    with pytest.raises(ManifestError) as caught:
        await source(tmp_path / "r").add(document)
    assert len(caught.value.problems) >= len(problems)
    for problem in problems:
        assert any(line.startswith(problem) for line in caught.value.problems), caught.value.problems
    assert not (tmp_path / "r").exists()


async def test_a_name_is_given_once(tmp_path: Path) -> None:
    requested = source(tmp_path)
    await requested.add(asked())
    for name, is_taken in (("web", lambda name: False), ("other", lambda name: name.name == "other")):
        with pytest.raises(NsrunError, match=f'cannot add pod "default/{name}": it is there already'):
            await requested.add(asked(name), is_taken)


async def test_a_document_that_cannot_be_read_any_more_keeps_its_pod(tmp_path: Path) -> None:
    path = tmp_path / "default_web.json"
    path.write_text("{")
    (tmp_path / "default_b.json").symlink_to(tmp_path / "nowhere")
    async with following(tmp_path) as (requested, follower):
        assert follower.last.broken == {str(path), str(tmp_path / "default_b.json")}
        assert len(follower.last.problems) == 2
        assert await requested.remove(WEB)
        await follower.until(lambda update: len(update.problems) == 1)


async def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    async with following(tmp_path / "r") as (requested, follower):
        assert follower.last.problems == (f"{tmp_path}/r: cannot read: not a directory (ENOTDIR)",)
        assert follower.last.broken == {f"{tmp_path}/r"}
        with pytest.raises(NsrunError, match='cannot keep pod "default/web" in '):
            await requested.add(asked())


async def test_it_can_be_read_as_what_it_is(tmp_path: Path) -> None:
    await source(tmp_path).add(asked())
    document = json.loads((tmp_path / "default_web.json").read_bytes())
    assert (document["kind"], document["metadata"]["name"]) == ("Pod", "web")
