"""``nsrun exec`` and ``nsrun attach`` before there is a shim: words, keys, pods, ends."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from nsrun.cli.sessions.attach import parse_keys
from nsrun.cli.sessions.exec import command
from nsrun.cli.sessions.runs import Run, find_run
from nsrun.cli.sessions.shims import shim_of
from nsrun.errors import NotFoundError, NsrunError
from nsrun.support.layout import Layout, PodName


@pytest.mark.parametrize(
    ("words", "pod", "container", "rest"),
    [
        ("web ls -l", "web", None, ("ls", "-l")),
        ("-c app web ls -c x", "web", "app", ("ls", "-c", "x")),
        ("web -c app -- ls -l", "web", "app", ("--", "ls", "-l")),
        ("-it web -c app -- ls -- x", "web", "app", ("--", "ls", "--", "x")),
        ("web -- ls", "web", None, ("--", "ls")),
        ("web ls -- x", "web", None, ("ls", "--", "x")),
        ("web", "web", None, ()),
    ],
)
def test_flags_before_and_behind_the_pod(words: str, pod: str, container: str | None, rest: tuple[str, ...]) -> None:
    found = command.make_context("exec", words.split()).params
    assert (found["pod"], found["container"], found["words"]) == (pod, container, rest)


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("", b""), ("a", b"a"), ("ctrl-@,ctrl-[,Ctrl-A", b"\x00\x1b\x01")],
)
def test_keys(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-1", "ab", ",", "ctrl-", "é", "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        parse_keys(text)


def layout_of(base: Path) -> Layout:
    return Layout(run_dir=base / "run", root=base / "root", log_dir=base / "log")


def add(
    layout: Layout, namespace: str, name: str, containers: Sequence[str], *attempts: int, **metadata: object
) -> str:
    """A pod in the run directory, whose containers have had these attempts."""
    uid = f"uid-{namespace}-{name}"
    for container in containers:
        for attempt in attempts:
            layout.container_run(uid, container, attempt).mkdir(parents=True)
    layout.run_pod(uid).mkdir(parents=True, exist_ok=True)
    spec = {"containers": [{"name": name} for name in containers], "initContainers": [{"name": "init"}]}
    layout.pod_json(uid).write_text(json.dumps({"metadata": metadata, "spec": spec}))
    layout.run_names.mkdir(exist_ok=True)
    layout.run_name(PodName(namespace=namespace, name=name)).symlink_to(f"../pods/{uid}")
    return uid


def found(layout: Layout, pod: str, namespace: str | None, container: str | None) -> Run:
    return find_run(layout.run_paths, pod, namespace, container)


def test_which_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = layout_of(tmp_path)
    web = add(layout, "default", "web", ["main", "side"], 0, 2, 10)
    other = add(layout, "other", "web-1", ["only"], 3)
    assert found(layout, "web", None, None) == Run(web, "main", 10)
    assert capsys.readouterr().err == 'Defaulted container "main" out of: main, side, init (init)\n'
    assert found(layout, "web", "default", "side") == Run(web, "side", 10)
    assert found(layout, "other/web-1", "default", "only").key == "only.3"
    assert capsys.readouterr().err == ""
    (layout.container_run(other, "init", 0)).mkdir(parents=True)
    assert found(layout, "web-1", None, "init") == Run(other, "init", 0)
    annotated = add(layout, "a", "b", ["x", "y"], 0, annotations={"kubectl.kubernetes.io/default-container": "y"})
    assert found(layout, "b", None, None) == Run(annotated, "y", 0)
    assert capsys.readouterr().err == ""


def test_the_document_is_read_only_where_the_directory_does_not_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = layout_of(tmp_path)
    uid = add(layout, "default", "web", ["main", "side"], 1)
    layout.default_container(uid).symlink_to("containers/side")
    document = layout.pod_json(uid).read_text()
    layout.pod_json(uid).write_text("none")
    assert found(layout, "web", None, None) == Run(uid, "side", 1)
    assert found(layout, "web", None, "main") == Run(uid, "main", 1)
    assert capsys.readouterr().err == ""
    layout.pod_json(uid).write_text(document)
    for name in ("..", ".", "", "main/../main", "../containers/main", "main\0", "MAIN", "mai"):
        with pytest.raises(NotFoundError, match="cannot find container"):
            found(layout, "web", None, name)


def test_what_cannot_be_found(tmp_path: Path) -> None:
    layout = layout_of(tmp_path)
    with pytest.raises(NotFoundError, match='cannot find pod "web"'):
        find_run(layout.run_paths, "web", None, None)
    add(layout, "one", "web", ["main"])
    add(layout, "two", "web", ["main"])
    with pytest.raises(NsrunError, match="in several namespaces: one, two"):
        find_run(layout.run_paths, "web", None, None)
    with pytest.raises(NotFoundError, match='cannot find container "x" in pod "web"'):
        find_run(layout.run_paths, "web", "one", "x")
    with pytest.raises(NsrunError, match='cannot reach container "main": it has not run yet'):
        find_run(layout.run_paths, "one/web", None, "main")
    empty = add(layout, "a", "b", [])
    with pytest.raises(NotFoundError, match="cannot find a container"):
        find_run(layout.run_paths, "b", None, None)
    layout.pod_json(empty).write_text("{")
    with pytest.raises(NsrunError, match=r"its pod.json is none"):
        find_run(layout.run_paths, "b", None, None)
    layout.pod_json(empty).unlink()
    with pytest.raises(NsrunError, match="no such file or directory"):
        find_run(layout.run_paths, "b", None, None)


def test_no_shim(tmp_path: Path) -> None:
    layout = layout_of(tmp_path)
    run = Run(add(layout, "default", "web", ["main"], 0), "main", 0)
    with (
        pytest.raises(NsrunError, match='cannot reach container "main": its pod does not run'),
        shim_of(layout.run_paths, run),
    ):
        pass
    os.symlink("loop", layout.run_pod("loop"))
    with pytest.raises(NsrunError, match="ELOOP"), shim_of(layout.run_paths, Run("loop", "main", 0)):
        pass
