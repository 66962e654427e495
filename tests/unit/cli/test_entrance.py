from __future__ import annotations

import click
import pytest

from nsrun.cli.entrance import LOOKING, MAKING, OUTSIDE, SWITCHES, Entrance, entrance
from nsrun.cli.main import COMMANDS, cli


def test_every_command_is_of_one_kind() -> None:
    assert COMMANDS.keys() == LOOKING | MAKING | OUTSIDE
    assert len(LOOKING) + len(MAKING) + len(OUTSIDE) == len(COMMANDS)


def test_every_switch_is_known() -> None:
    options = [option for option in cli.get_params(click.Context(cli)) if isinstance(option, click.Option)]
    switches = {name for option in options if option.is_flag for name in option.opts if name.startswith("--")}
    assert switches == SWITCHES


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--manifests pods", Entrance(start=True, daemon=True)),
        ("--hostname-override top --verbose --manifests pull", Entrance(start=True, daemon=True)),
        ("--pod-manifest-path pods", Entrance(start=True, daemon=True)),
        ("--tips pods", Entrance()),
        ("--manifests=pods --tips", Entrance(start=True, daemon=True)),
        ("--run-dir /r --manifest-url http://h/", Entrance(run_dir="/r", start=True, daemon=True)),
        ("--manifests pods --help", Entrance()),
        ("", Entrance()),
        ("--help", Entrance()),
        ("pods", Entrance()),
        ("--run-dir=/r exec web -- nsrun --manifests x", Entrance(run_dir="/r")),
        ("exec web --run-dir /r", Entrance()),
        ("--root exec pull busybox", Entrance(start=True)),
        ("pull --help", Entrance()),
        ("unshare -- ls --help", Entrance(start=True)),
        ("doctor", Entrance(outside=True)),
        ("--run-dir /r systemd --user install x", Entrance(run_dir="/r", outside=True)),
    ],
)
def test_what_words_need(words: str, wanted: Entrance) -> None:
    assert entrance(words.split(), {}) == wanted


def test_manifests_in_a_variable() -> None:
    assert entrance([], {"NSRUN_MANIFESTS": "pods"}) == Entrance(start=True, daemon=True)
    assert entrance(["pods"], {"NSRUN_MANIFESTS": "pods"}) == Entrance()


def test_a_shell_that_asks_for_words_starts_nothing() -> None:
    assert not entrance(["pull"], {"_NSRUN_COMPLETE": "bash_complete"}).start
