"""Options: each flag has its environment variable, and the ones that every command shares are said once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nsrun.cli.flagtable import FlagRow, variable
from nsrun.support.layout import Layout

if TYPE_CHECKING:
    from nsrun.api.client import ApiClient

__all__ = ["PATH", "Context", "Flag", "flag", "flags_of", "pass_context", "write_grouped"]

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
"""The type of a flag's value that is a path."""


class Flag(click.Option):
    """An option that belongs to a group of the help."""

    def __init__(self, *arguments: Any, group: str = "", **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.group = group


def flag(name: str, *others: str, group: str = "", **attributes: Any) -> Callable[[F], F]:
    """A click option ``--some-name`` that NSRUN_SOME_NAME sets too. ``group``: where the help shows it."""
    attributes.setdefault("show_envvar", True)
    return click.option(name, *others, cls=Flag, group=group, envvar=variable(name), **attributes)


def flags_of(rows: Sequence[FlagRow], **attributes: Any) -> Callable[[F], F]:
    """The flags of a table."""

    def decorate(function: F) -> F:
        for row in reversed(rows):
            switch: dict[str, Any] = {"is_flag": True} if row.switch else {}
            function = flag(row.names[0], *row.names[1:], help=row.help, **switch, **attributes)(function)
        return function

    return decorate


def write_grouped(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    """The options in their groups, in the order of their first flags."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            groups.setdefault(getattr(parameter, "group", "") or "Options", []).append(record)
    for group, records in groups.items():
        with formatter.section(group):
            formatter.write_dl(records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every command gets."""

    layout: Layout

    @property
    def api(self) -> ApiClient:
        """The way to the daemon; some commands need none."""
        from nsrun.api.client import ApiClient

        return ApiClient(self.layout.socket)


pass_context = click.make_pass_decorator(Context)
