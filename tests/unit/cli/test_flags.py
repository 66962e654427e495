"""Every flag of every command is an environment variable too, and the help says which."""

from __future__ import annotations

import click
import pytest

from nsrun.cli.image import VERBS
from nsrun.cli.image import command as images
from nsrun.cli.main import COMMANDS, cli

# What nsrun itself listens on is no wish for what a forwarded port listens on; nor is whom containers run as for whose
# unit one is.
OTHERWISE = {
    ("port-forward", "--address"): "NSRUN_FORWARD_ADDRESS",
    ("systemd", "--user"): "NSRUN_SYSTEMD_USER",
    **{
        (name, "--cert-dir"): "NSRUN_REGISTRY_CERT_DIR"
        for name in ("pull", "push", "image pull", "image push", "login")
    },
}


def commands() -> list[tuple[str, click.Command]]:
    context = click.Context(cli)
    found = [(name, cli.get_command(context, name)) for name in sorted(COMMANDS)]
    found += [(f"image {name}", images.get_command(context, name)) for name in sorted(VERBS)]
    return [("nsrun", cli), *((name, command) for name, command in found if command is not None)]


def options(command: click.Command) -> list[click.Option]:
    """But ``--version``, which nobody asks for by a variable."""
    return [p for p in command.params if isinstance(p, click.Option) and p.name != "version"]


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_each_flag_has_its_variable(name: str, command: click.Command) -> None:
    shown = " ".join(command.get_help(click.Context(command, info_name=name)).split())
    for option in options(command):
        longest = next(flag for flag in option.opts if flag.startswith("--"))
        variable = "NSRUN_" + longest.removeprefix("--").replace("-", "_").upper()
        variable = OTHERWISE.get((name, longest), variable)
        assert option.envvar == variable
        assert variable in shown
        assert option.help


def test_the_variables_work(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"NSRUN_ROOT": "/r", "NSRUN_BRIDGE": "nsrun7", "NSRUN_MAX_PODS": "3", "NSRUN_VERBOSE": "1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    parsed = cli.make_context("nsrun", []).params
    assert (str(parsed["root"]), parsed["bridge"], parsed["max_pods"], parsed["verbose"]) == ("/r", "nsrun7", 3, True)
