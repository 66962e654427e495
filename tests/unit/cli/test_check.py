"""`nsrun check`: all that is wrong, where, and the exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nsrun.cli.main import cli
from nsrun.errors import SettingsError

GOOD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: c, image: busybox}\n"
BAD = GOOD.replace("busybox", "Not An Image").replace("web", "Web")
DOUBTFUL = GOOD.replace("kind: Pod", "kind: Pod\nwhatever: 1")
REPO = Path(__file__).resolve().parents[3]


def check(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, ["check", *arguments], input=stdin)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path


def test_all_is_well(directory: Path) -> None:
    done = check(str(directory))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "1 file, 1 pod, 0 problems, 0 warnings\n")
    assert check(str(directory / "good.yaml"), "-q").output == ""


def test_every_problem_with_its_place(directory: Path) -> None:
    bad = directory / "bad.yaml"
    bad.write_text(BAD)
    done = check(str(bad))
    assert done.exit_code == 1
    assert [line.partition(" must ")[0] for line in done.stdout.splitlines()] == [
        f"{bad}:3:18: metadata.name:",
        f"{bad}:6:22: spec.containers[0].image:",
    ]
    assert done.stderr == "1 file, 0 pods, 2 problems, 0 warnings\n"


def test_warnings_are_errors_only_when_strict(directory: Path) -> None:
    (directory / "notes.txt").write_text("not a manifest")
    done = check(str(directory))
    assert (done.exit_code, done.stderr) == (0, "1 file, 1 pod, 0 problems, 1 warning\n")
    skipped = "skipped, its name does not end in .yaml, .yml or .json"
    assert done.stdout == f"{directory}/notes.txt: warning: {skipped}\n"
    assert check(str(directory), "-q").output == ""
    strict = check(str(directory), "--strict", "-q")
    assert (strict.exit_code, strict.output) == (1, f"{directory}/notes.txt: {skipped}\n")


def test_files_are_read_together(directory: Path) -> None:
    other = directory / "other.yaml"
    other.write_text(GOOD)
    done = check(str(directory / "good.yaml"), str(other))
    assert done.exit_code == 1
    assert f'other.yaml:3:18: metadata.name: pod "default/web" is already defined in {directory}/good.yaml:3:18' in (
        done.stdout
    )
    twice = check(str(other), str(other))
    assert twice.exit_code == 0, "one file named twice is one file"


def test_standard_input() -> None:
    done = check("-", stdin=BAD)
    assert done.exit_code == 1
    assert done.stdout.startswith("-:3:18: metadata.name:")
    assert check("-", stdin=GOOD).exit_code == 0
    assert isinstance(check("-", "-").exception, SettingsError)


def test_what_cannot_be_read(directory: Path) -> None:
    (directory / "dangling.yaml").symlink_to("nowhere")
    done = check(str(directory), str(directory / "absent.yaml"))
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"{directory}/absent.yaml: is not there",
        f"{directory}/dangling.yaml: cannot read: no such file or directory (ENOENT)",
    ]


def test_what_is_no_file(directory: Path) -> None:
    os.mkfifo(directory / "fifo.yaml")
    done = check(str(directory / "fifo.yaml"))
    assert done.stdout == f"{directory}/fifo.yaml: must be a directory or a regular file\n"


def test_findings_as_json(directory: Path) -> None:
    (directory / "bad.json").write_text(json.dumps({"apiVersion": "v1", "kind": "Pood"}))
    done = check(str(directory), "-o", "json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert (said["files"], len(said["pods"])) == (2, 1)
    assert {(finding["file"], finding["line"], finding["severity"]) for finding in said["findings"]} == {
        (f"{directory}/bad.json", 1, "error")
    }
    assert any("Pood" in finding["text"] for finding in said["findings"])


@pytest.mark.parametrize(
    "path", sorted((REPO / "tests/manifests/bad").glob("*.yaml.expected")), ids=lambda path: path.name
)
def test_as_the_daemon_says(path: Path) -> None:
    manifest = path.with_suffix("")
    done = check(str(manifest))
    expected = path.read_text().splitlines()
    assert done.exit_code == any(not line.startswith("warning: ") for line in expected)
    for line in expected:
        warning = line.startswith("warning: ")
        place, _, text = line.removeprefix("warning: ").partition(": ")
        assert f"{place}: {'warning: ' if warning else ''}{text}" in done.stdout
    assert len(done.stdout.splitlines()) == len(expected)


def test_the_manifests_of_the_demo() -> None:
    assert check(str(REPO / "manifests"), "--strict").exit_code == 0
