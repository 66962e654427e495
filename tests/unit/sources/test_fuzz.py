"""Whatever lies in the directory: the good pod beside it runs on, also through every change of the others."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsrun.model.decode import parse_manifest
from nsrun.sources.desired import FileState, desired, next_state
from tests.unit.model.documents import documents
from tests.unit.sources.following import following, manifest
from tests.waiting import fewer

GOOD = manifest("good").encode()


def read(data: bytes, file: str, before: FileState | None = None) -> FileState:
    before = before or FileState(file=file, origin=f"/m/{file}")
    return next_state(before, parse_manifest(data, file=file, node_name="node", origin=before.origin))


@settings(max_examples=fewer(2_000), deadline=None, suppress_health_check=list(HealthCheck))
@given(documents, documents)
def test_a_good_pod_keeps_running_beside_any_file(first: bytes, second: bytes) -> None:
    good = read(GOOD, "good.yaml")
    update, owners = desired([good], {})
    (pod,) = update.pods
    bad = FileState(file="bad.yaml", origin="/m/bad.yaml")
    for data in (first, second, first, b""):
        bad = read(data, "bad.yaml", bad)
        update, owners = desired([bad, good], owners)
        assert pod in update.pods
        assert len({one.name for one in update.pods}) == len({one.uid for one in update.pods}) == len(update.pods)


@settings(max_examples=fewer(1_000), deadline=None, suppress_health_check=list(HealthCheck))
@given(documents)
def test_a_file_that_turns_bad_loses_no_pod(data: bytes) -> None:
    good = read(GOOD, "a.yaml")
    after = read(data, "a.yaml", good)
    if after.problems:
        assert good.pods[0].pod.name in {placed.pod.name for placed in after.pods}


@pytest.mark.timeout(120)
@settings(max_examples=fewer(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(documents, min_size=30, max_size=60))
async def test_a_directory_full_of_them(listed: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "good.yaml").write_bytes(GOOD)
        async with following(directory) as follower:
            for index, data in enumerate(listed):
                (directory / f"{index:03}.{('yaml', 'yml', 'json')[index % 3]}").write_bytes(data)
            (directory / "last.yaml").write_text(manifest("last"))
            await follower.until(lambda update: "last" in follower.pods)
            assert all("good" in [pod.metadata.name for pod in update.pods] for update in follower.updates)
