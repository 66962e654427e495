"""Run directories."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.model.running import ContainerId
from nsrun.runtime.ocispec import container_config
from nsrun.runtime.rundir import RunDirectory, RunState, container_key, make_directories, parse_key
from nsrun.support.layout import Layout
from tests.unit.runtime.requests import MACHINE, SURROUNDINGS, request

STATE = RunState(image_ref="r", image_digest="d", stop_signal=3, created=1.5)
POD = request().pod
ID = ContainerId(uid="uid-1", name="main", attempt=2)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path / "lib", run_dir=tmp_path / "run", log_dir=tmp_path / "log")


@pytest.fixture
def run(layout: Layout) -> RunDirectory:
    return RunDirectory(layout, boot="boot")


def make(run: RunDirectory, id: ContainerId = ID) -> None:
    run.make_container(POD, id, container_config(request(), MACHINE, SURROUNDINGS), STATE)


def test_keys() -> None:
    assert container_key(ID) == "main.2"
    assert parse_key("uid-1", "main.2") == ID
    for key in ("sandbox", "", ".1", "main.", "main.x", "main.-1", "main.²"):
        assert parse_key("u", key) is None, key


def test_hashes_differ(run: RunDirectory, layout: Layout) -> None:
    others = [
        ContainerId(uid="uid-2", name="main", attempt=2),
        ContainerId(uid="uid-1", name="other", attempt=2),
        ContainerId(uid="uid-1", name="main", attempt=3),
    ]
    hashes = {run.hash(id) for id in (ID, *others)} | {RunDirectory(layout, boot="next").hash(ID)}
    assert len(hashes) == 5
    assert all(len(text) == 64 for text in hashes)


def test_a_pod(run: RunDirectory, layout: Layout) -> None:
    assert run.pods() == []
    run.make_pod(POD, {"kind": "Pod"}, "web")
    run.make_pod(POD, {"kind": "Pod"}, "web")
    assert run.pods() == ["uid-1"]
    assert run.document("uid-1") == {"kind": "Pod"}
    assert layout.etc_hostname("uid-1").read_text() == "web\n"
    assert stat.S_IMODE(layout.run_pod("uid-1").stat().st_mode) == 0o700
    assert stat.S_IMODE(layout.pod_json("uid-1").stat().st_mode) == 0o600
    for text in ("[]", "{", ""):
        layout.pod_json("uid-1").write_text(text)
        assert run.document("uid-1") is None
    assert run.document("none") is None


def test_the_container_that_is_meant(run: RunDirectory, layout: Layout) -> None:
    """Beside the document, and as true as that."""
    link = layout.default_container("uid-1")
    two = {"containers": [{"name": "main"}, {"name": "side"}]}
    named = {"annotations": {"kubectl.kubernetes.io/default-container": "side"}}
    run.make_pod(POD, {"spec": {"containers": [{"name": "main"}]}}, "web")
    assert link.readlink() == Path("containers/main")
    assert link.parent / link.readlink() == layout.container_runs("uid-1", "main")
    run.write_document("uid-1", {"metadata": named, "spec": two})
    assert link.readlink() == Path("containers/side")
    run.write_document("uid-1", {"spec": two})
    assert not link.is_symlink(), "a guess is to be said"
    run.write_document("gone", {"spec": {"containers": [{"name": "main"}]}})
    assert not layout.run_pod("gone").exists()


def test_a_pod_is_found_by_its_name(run: RunDirectory, layout: Layout) -> None:
    link = layout.run_name(POD.name)
    run.make_pod(POD, {"kind": "Pod"}, "web")
    assert link.resolve() == layout.run_pod("uid-1").resolve()
    later = replace(POD, metadata=replace(POD.metadata, uid="uid-2"))
    run.make_pod(later, {"kind": "Pod"}, "web")
    run.remove_pod(None, "uid-1")
    assert link.resolve() == layout.run_pod("uid-2").resolve(), "another pod has the name by now"
    (layout.run_names / "no-link").touch()
    run.remove_pod(None, "uid-2")
    assert not link.is_symlink()


def test_a_container(run: RunDirectory, layout: Layout) -> None:
    run.make_pod(POD, {}, "web")
    old = os.umask(0o077)
    try:
        make(run)
        make(run)
    finally:
        os.umask(old)
    files = layout.container("uid-1", "main", 2)
    assert stat.S_IMODE(files.stat().st_mode) == 0o700
    assert stat.S_IMODE((files / "upper").stat().st_mode) == 0o755
    config = layout.container_run("uid-1", "main", 2) / "config.json"
    assert json.loads(config.read_text())["ociVersion"] == "1.1.0"
    assert list(run.containers("uid-1")) == [(ID, STATE)]
    link = layout.container_log_link(POD.name, "main", run.hash(ID))
    assert os.readlink(link) == str(layout.container_log(POD.name, "uid-1", "main", 2))


def test_attempts_count_from_any_trace(run: RunDirectory, layout: Layout) -> None:
    assert run.next_attempt(POD, "main") == 0
    run.make_pod(POD, {}, "web")
    make(run)
    assert run.next_attempt(POD, "main") == 3
    run.discard_container(POD.name, ID)
    assert run.next_attempt(POD, "main") == 3
    assert list(run.containers("uid-1")) == []
    assert not layout.container("uid-1", "main", 2).exists()
    assert not layout.container_log_link(POD.name, "main", run.hash(ID)).is_symlink()
    run.remove_container(ID)
    assert run.next_attempt(POD, "main") == 0
    logs = layout.container_log(POD.name, "uid-1", "main", 0).parent
    for name in ("0.log", "7.log.20260101-000000", "x.log", "99999999999.log"):
        (logs / name).touch()
    assert run.next_attempt(POD, "main") == 8


def test_records(run: RunDirectory, layout: Layout) -> None:
    assert run.records("uid-1") == {}
    run.make_pod(POD, {}, "web")
    good = "pid 1\nstarted_ns 2\nexited_ns 3\nwait_status 4\ndropped 0\n"
    (layout.exits("uid-1") / "main.2").write_text(good)
    (layout.exits("uid-1") / "main.3").write_text("nothing")
    (layout.exits("uid-1") / "directory").mkdir()
    assert [(key, record.wait_status) for key, record in run.records("uid-1").items()] == [("main.2", 4)]


@pytest.mark.parametrize("text", ["[]", "{}", '{"image_ref": 1}', "\x00"])
def test_states_that_cannot_be_read_are_left_out(run: RunDirectory, layout: Layout, text: str) -> None:
    run.make_pod(POD, {}, "web")
    make(run)
    (layout.container_run("uid-1", "main", 2) / "state.json").write_text(text)
    assert list(run.containers("uid-1")) == []


def test_removal(run: RunDirectory, layout: Layout) -> None:
    run.make_pod(POD, {}, "web")
    make(run)
    layout.container_log(POD.name, "uid-1", "main", 2).touch()
    stranger = layout.container_logs / "web_default_main-123.log"
    stranger.symlink_to("/var/log/pods/default_web_another-uid/main/0.log")
    file = layout.container_logs / "web_default_file"
    file.touch()
    run.remove_pod(None, "uid-1")
    assert run.pods() == []
    assert layout.container_log(POD.name, "uid-1", "main", 2).exists()
    run.remove_pod(POD.name, "uid-1")
    run.remove_pod(POD.name, "uid-1")
    assert sorted(path.name for path in layout.container_logs.iterdir()) == sorted([stranger.name, file.name])
    assert not layout.pod_log(POD.name, "uid-1").exists()


def test_directories_get_their_mode(tmp_path: Path) -> None:
    make_directories(tmp_path / "a" / "b", 0o751)
    make_directories(tmp_path / "a" / "b", 0o700)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")} == {0o751}
