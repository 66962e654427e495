"""The short way of ``nsrun exec``: what it reads, click reads the same; all else it leaves to click."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from nsrun.cli.flagtable import EXEC, PLACES
from nsrun.cli.main import cli
from nsrun.cli.plainwords import PlainWords, plain_exec
from nsrun.cli.program import run
from nsrun.cli.sessions import exec as exec_command
from nsrun.support.layout import Layout
from nsrun.support.runpaths import RunPaths
from tests.waiting import fewer

FLAGS = [name for row in (*PLACES, *EXEC) for name in row.names]
VARIABLES = [row.variable for row in (*PLACES, *EXEC)]

word = some.one_of(
    some.sampled_from(
        [*FLAGS, "exec", "web", "ls", "--", "-", "", "app", "-it", "-itc", "-capp", "-ic", "-x", "=", "-c="]
    ),
    some.sampled_from(
        ["--container=app", "--namespace=", "--run-dir=/r", "--root", "--help", "-h", "--tty=1", "--cont", "-n=x"]
    ),
    some.text(max_size=3),
)
phrase = some.sampled_from(
    [
        *(
            ["-i"],
            ["-t"],
            ["-it"],
            ["--tty"],
            ["--stdin"],
            ["--interactive"],
            ["-c", "app"],
            ["-capp"],
            ["-itc", "app"],
        ),
        *(["--container", "app"], ["--container="], ["--namespace=n"], ["-n", "n"], ["-ic=x"], ["-c", ""], ["-tnn"]),
    ]
)
phrases = some.lists(phrase, max_size=4).map(lambda found: [word for words in found for word in words])
place = some.sampled_from([["--root", "/r"], ["--run-dir=/s"], ["--log-dir", "l"], ["--root=/x"], []])
likely = some.tuples(
    place, place, phrases, some.sampled_from(["web", "a/b"]), phrases, some.lists(word, max_size=3)
).map(
    lambda parts: [
        *parts[0],
        *parts[1],
        "exec",
        *parts[2],
        parts[3],
        *parts[4],
        *(["--"] if parts[4] else []),
        *parts[5],
    ]
)
arguments = some.one_of(
    likely,
    likely,
    some.lists(word, max_size=8),
    some.tuples(some.lists(word, max_size=3), some.lists(word, max_size=3)).map(
        lambda both: ["exec", *both[0], "web", *both[1], "--", "ls"]
    ),
)
environments: some.SearchStrategy[dict[str, str]] = some.one_of(
    some.just({}), some.dictionaries(some.sampled_from(VARIABLES), some.sampled_from(["", "1", "/x", "no"]), max_size=2)
)

Asked = tuple[Layout, str, tuple[str, ...], Mapping[str, object]]


def by_click(words: Sequence[str], environment: Mapping[str, str]) -> Asked | None:
    """What click has ``exec`` do; None when it has something else to say, or another command is meant."""
    asked: list[Asked] = []

    def execute(paths: RunPaths, layout: Callable[[], Layout], pod: str, words: tuple[str, ...], **flags: Any) -> int:
        assert paths.directory == str(layout().run_dir)
        asked.append((layout(), pod, words, flags))
        return 7

    empty = {name: value for name, value in os.environ.items() if not name.startswith("NSRUN_")}
    with patch.dict(os.environ, {**empty, **environment}, clear=True), patch.object(exec_command, "execute", execute):
        try:
            cli.main(list(words), standalone_mode=False, prog_name="nsrun")
        except (click.ClickException, click.exceptions.Exit):
            pass
    return asked[0] if asked else None


def by_plain(said: PlainWords) -> Asked:
    places = {name: Path(os.path.abspath(place)) for name, place in said.places.items()}
    nothing = {row.parameter: False if row.switch else None for row in EXEC}
    return Layout(**places), said.pod, said.words, {**nothing, **said.flags}


@settings(max_examples=fewer(3000), deadline=None)
@given(words=arguments, environment=environments)
@example(words=["--run-dir=/r", "exec", "-it", "web", "-c", "app", "--", "ls"], environment={})
@example(words=["exec", "web", "--", "--", "ls"], environment={"NSRUN_ROOT": "/x"})
def test_what_is_plain_click_reads_alike(words: list[str], environment: dict[str, str]) -> None:
    said = plain_exec(words, environment)
    if said is not None:
        assert by_plain(said) == by_click(words, environment)


@pytest.mark.parametrize(
    ("words", "pod", "command", "flags"),
    [
        ("exec web ls -l", "web", "ls -l", {}),
        ("exec -it web sh", "web", "sh", {"stdin": True, "tty": True}),
        ("exec -itc app web sh", "web", "sh", {"stdin": True, "tty": True, "container": "app"}),
        ("exec web -i -c app -- ls -- x", "web", "ls -- x", {"stdin": True, "container": "app"}),
        ("exec --namespace=n -capp web -- ls -c", "web", "ls -c", {"namespace": "n", "container": "app"}),
        ("--root /r --run-dir=/s exec web ls", "web", "ls", {}),
    ],
)
def test_what_people_type_is_plain(words: str, pod: str, command: str, flags: dict[str, object]) -> None:
    said = plain_exec(words.split(), {"NSRUN_LOG_DIR": "/l", "NSRUN_MAX_PODS": "1"})
    assert said is not None
    assert (said.pod, said.words, said.flags) == (pod, tuple(command.split()), flags)
    assert said.places == {"log_dir": "/l", **({"root": "/r", "run_dir": "/s"} if "--root" in words else {})}
    assert by_plain(said) == by_click(words.split(), {"NSRUN_LOG_DIR": "/l"})


@pytest.mark.parametrize(
    "words",
    [
        "",
        "ps",
        "exec",
        "exec web",
        "exec web --",
        "exec --help",
        "exec -h web ls",
        "exec web -c app ls",
        "exec web -c app x -- ls",
        "exec -- web ls",
        "exec -x web ls",
        "exec --cont app web ls",
        "exec --tty=1 web ls",
        "exec -c -i web ls",
        "exec - ls",
        "--verbose exec web ls",
        "--max-pods 1 exec web ls",
        "--root= exec web ls",
    ],
)
def test_what_is_odd_is_left_to_click(words: str) -> None:
    assert plain_exec(words.split(), {}) is None


@pytest.mark.parametrize("row", EXEC, ids=lambda row: row.parameter)
def test_variables_of_the_commands_own_flags_are_left_to_click(row: Any) -> None:
    assert plain_exec(["exec", "web", "ls"], {row.variable: ""}) is None


def test_both_ways_end_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    places = ["--run-dir", str(tmp_path)]
    ends = []
    for variable in ({}, {"NSRUN_NAMESPACE": ""}):
        monkeypatch.setattr(os, "environ", {**os.environ, **variable})
        assert (plain_exec([*places, "exec", "web", "true"], os.environ) is None) == bool(variable)
        ends.append((run([*places, "exec", "web", "true"]), capsys.readouterr()))
    assert ends[0] == ends[1]
    assert ends[0][0] == 1
    assert ends[0][1].err.startswith('nsrun: cannot find pod "web": none of this name runs here\n')


def test_a_place_that_cannot_be_read_is_left_to_click(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with patch("os.access", lambda path, mode: str(path) != str(tmp_path)):
        assert run(["--run-dir", str(tmp_path), "exec", "web", "true"]) == 2
    assert "is not readable" in capsys.readouterr().err
