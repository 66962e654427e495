"""docs/cli.md names every verb, and every flag of the verbs that look."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

from nsrun.cli.main import COMMANDS

PAGE = (Path(__file__).resolve().parents[3] / "docs/cli.md").read_text()


def section(title: str) -> str:
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[1]


def test_every_verb_is_in_the_table() -> None:
    table = PAGE.partition("## Names")[0]
    assert [verb for verb in COMMANDS if f"`{verb}`" not in table] == []


@pytest.mark.parametrize("verb", ["pods", "ps", "logs", "inspect", "check"])
def test_every_flag_is_told(verb: str) -> None:
    command = importlib.import_module(COMMANDS[verb]).command
    known = section(verb) + section("Which pods") + section("Output formats")
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not any(f"`{name}" in known for name in option.opts)] == []
