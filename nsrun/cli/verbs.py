"""Groups of verbs: each verb's code, and what it imports, is loaded when the verb is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Verbs"]


class Verbs(click.Group):
    """``modules``: verb → module, in which the verb is ``command``. Several verbs may be one command."""

    def __init__(self, *arguments: Any, modules: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.modules)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        module = self.modules.get(name)
        if module is None:
            return None
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command)
        if ctx.resilient_parsing:
            from nsrun.cli.completion import with_names

            return with_names(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """No command is imported for that, so none says what it does."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.modules and not args[0].startswith("-"):
            from nsrun.model.wording import suggestion

            ctx.fail(f"No such command '{args[0]}'{suggestion(args[0], self.modules)}")
        return super().resolve_command(ctx, args)
