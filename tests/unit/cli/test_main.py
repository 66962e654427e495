"""What the program says about itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from nsrun import __version__
from nsrun.cli.main import COMMANDS, GROUPS, cli, names_command
from nsrun.settings import Settings


def test_the_version_is_asked_for_as_a_flag_too() -> None:
    done = CliRunner().invoke(cli, ["--version"])
    assert (done.exit_code, done.output) == (0, f"nsrun {__version__}\n")


def test_each_command_is_in_one_group_of_the_help() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) < set(COMMANDS)
    shown = CliRunner().invoke(cli, ["--help"]).output
    for name in COMMANDS:
        assert f"\n  {name} " in shown, name


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        ("ps", True),
        ("--root /r --run-dir=/s ps -a", True),
        ("--root ps", False),
        ("--root ps ps", True),
        ("", False),
        ("--manifests m", False),
        ("--verbose ps", False),
        ("unknown", False),
        ("down --time 0", False),
    ],
)
def test_which_words_are_a_command(words: str, is_one: bool) -> None:
    """Others may have flags of the daemon before it; those are still understood."""
    assert names_command(words.split()) is is_one


def test_flags_of_the_daemon_before_a_command_are_passed_over() -> None:
    assert CliRunner().invoke(cli, ["--verbose", "version"]).exit_code == 0


def test_a_url_is_enough_to_run_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Settings] = []

    def run_daemon(settings: Settings, **_: object) -> int:
        given.append(settings)
        return 0

    monkeypatch.setattr("nsrun.cli.serving.daemon.run_daemon", run_daemon)
    assert CliRunner().invoke(cli, ["--manifest-url", "https://example.com/pods.yaml"]).exit_code == 0
    assert (given[0].manifests, given[0].manifest_url) == (None, "https://example.com/pods.yaml")
    assert "Usage" in CliRunner().invoke(cli, []).output
    assert len(given) == 1


def test_the_words_that_shells_ask_for_cost_no_import() -> None:
    """Somebody has pressed a key and waits."""
    script = "import sys; sys.argv[0] = 'nsrun'; from nsrun.cli.program import run\nrun([])\nprint(*sys.modules)"
    asked = {"_NSRUN_COMPLETE": "bash_complete", "COMP_WORDS": "nsrun lo", "COMP_WORDBREAKS": ":="}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    *words, modules = done.stdout.splitlines()
    assert words == ["plain,load", "plain,login", "plain,logout", "plain,logs"]
    assert not {"nsrun.cli.logs.command", "nsrun.cli.changing.run", "yaml", "rich", "aiohttp"} & set(modules.split())
    unknown = subprocess.run(
        [sys.executable, "-m", "nsrun"],
        env={**os.environ, **asked, "_NSRUN_COMPLETE": "tcsh_complete"},
        capture_output=True,
        check=False,
    )
    assert (unknown.returncode, unknown.stdout) == (1, b"")


def test_output_that_waits_to_be_written_is_not_lost_in_silence() -> None:
    """What a command printed and nobody flushed, on a full disk, and to a reader that has gone."""
    script = (
        "import sys\nfrom nsrun.cli import main, program\n"
        "def one(arguments):\n    sys.stdout.write('text')\n    return 0\n"
        "main.by_click = one\nprogram.program()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert (done.returncode, done.stderr) == (1, "nsrun: cannot write the output: no space left on device (ENOSPC)\n")
    reading, writing = os.pipe()
    os.close(reading)
    gone = subprocess.run(
        [sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(writing)
    assert (gone.returncode, gone.stderr) == (0, b"")


def test_without_standard_output_and_errors() -> None:
    """A tool may be started so; by its long way, and by exec's."""
    started = 'exec "$0" -m nsrun --run-dir / exec'
    done = subprocess.run(["sh", "-c", f"{started} >&-", sys.executable], capture_output=True, check=False)
    assert (done.returncode, b"Missing argument 'POD'" in done.stderr, b"Traceback" in done.stderr) == (2, True, False)
    assert subprocess.run(["sh", "-c", f"{started} >&- 2>&-", sys.executable], check=False).returncode == 2
    done = subprocess.run(["sh", "-c", f"{started} web true >&-", sys.executable], capture_output=True, check=False)
    assert (done.returncode, b'cannot find pod "web"' in done.stderr, b"Traceback" in done.stderr) == (1, True, False)
