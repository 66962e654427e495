"""``nsrun completion``, and what a shell is answered when somebody presses the tab key.

click knows commands, flags and choices. What else can be named (pods, containers, namespaces, images) is looked up on
this machine, by the names that parameters have everywhere; without a daemon there is nothing to say, and nothing is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    split_arg_string,
)

from nsrun.api.client import ApiClient
from nsrun.cli.documents import Document, containers, rows_at, text_at
from nsrun.cli.flagtable import COMPLETION, PLACES
from nsrun.cli.places import layout_at
from nsrun.errors import NsrunError
from nsrun.support.layout import Layout

__all__ = ["answer", "command", "with_names"]

_PATIENCE = 1.0
"""Seconds: somebody sits there and waits."""

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' answer kind value
    COMPREPLY=()
    answer=$(env COMP_WORDS="${COMP_LINE:0:$COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    while IFS=, read -r kind value; do
        case $kind in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        plain) COMPREPLY+=("$value") ;;
        esac
    done <<<"$answer"
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Bash ends words at ``:`` and ``=`` too, and puts what it is given behind the last of them."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        incomplete = words.pop() if len(words) > 1 and not line[-1:].isspace() else ""
        return words[1:], incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        behind = max((incomplete.rfind(letter) for letter in ":=" if letter in breaks), default=-1) + 1
        found = super().get_completions(args, incomplete)
        head = incomplete[:behind]
        return [CompletionItem(item.value.removeprefix(head), type=item.type, help=item.help) for item in found]

    @staticmethod
    def _check_version() -> None:
        """The script needs nothing that bash 4.4 lacks, and nobody has an older one."""


_SHELLS: Mapping[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion", short_help="Print what teaches a shell nsrun's words.")
@click.argument("shell", type=click.Choice(tuple(_SHELLS)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that teaches a SHELL to complete nsrun's words when the tab key is pressed.

    \b
    bash: source <(nsrun completion bash)
    zsh:  source <(nsrun completion zsh)        after compinit
    fish: nsrun completion fish | source
    """
    click.echo(_SHELLS[shell](ctx.find_root().command, {}, "nsrun", COMPLETION).source(), nl=False)


def answer(cli: click.Command, instruction: str) -> int:
    """Answers a shell that asks, as the scripts do by ``COMPLETION``; the exit code."""
    shell, _, wanted = instruction.partition("_")
    if shell not in _SHELLS or wanted != "complete":
        return 1
    click.echo(_SHELLS[shell](cli, {}, "nsrun", COMPLETION).complete())
    return 0


# --- names


class _Named(click.types.StringParamType):
    """A text that is one of some names."""

    def __init__(self, names: Callable[[click.Context], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = sorted({name for name in self._names(ctx) if name.startswith(incomplete)})
        except (NsrunError, OSError, ValueError):
            return []
        return [CompletionItem(name) for name in found]


def with_names(command: click.Command) -> click.Command:
    """The same command, its parameters with the names they can have."""
    for parameter in command.params:
        names = _NAMES.get(parameter.name or "")
        if names is not None and type(parameter.type) is click.types.StringParamType:
            parameter.type = _Named(names)
    return command


def _layout(ctx: click.Context) -> Layout:
    given = ctx.find_root().params
    return layout_at(**{row.parameter: given.get(row.parameter) for row in PLACES})


def _documents(ctx: click.Context) -> list[Document]:
    """Pods; of one namespace when one was given."""
    pods = ApiClient(_layout(ctx).socket, timeout=_PATIENCE).pods()
    namespace = ctx.params.get("namespace")
    return [pod for pod in pods if namespace in (None, text_at(pod, "metadata", "namespace"))]


def _pods(ctx: click.Context) -> Iterable[str]:
    """By their own names; those of several namespaces with theirs."""
    pods = _documents(ctx)
    names = [text_at(pod, "metadata", "name") for pod in pods]
    for pod, name in zip(pods, names, strict=True):
        yield f"{text_at(pod, 'metadata', 'namespace')}/{name}"
        if names.count(name) == 1:
            yield name


def _containers(ctx: click.Context) -> Iterable[str]:
    """Of the pods that were named before; of all when none was."""
    given = ctx.params.get("pod") or ctx.params.get("pods") or ()
    # click gives up at a flag without its value, which is the one that is asked for: what it had read is left over.
    said = {word.rpartition("/")[2] for word in (*([given] if isinstance(given, str) else given), *ctx.args)}
    rows = containers(_documents(ctx))
    named = [row for row in rows if text_at(row.pod, "metadata", "name") in said]
    return (text_at(row.spec, "name") for row in named or rows)


def _namespaces(ctx: click.Context) -> Iterable[str]:
    pods = ApiClient(_layout(ctx).socket, timeout=_PATIENCE).pods()
    return (text_at(pod, "metadata", "namespace") for pod in pods)


def _images(ctx: click.Context) -> Iterable[str]:
    """Of the store, as its index names them, and as docker's users know them."""
    index = json.loads((_layout(ctx).images / "index.json").read_bytes())
    for entry in rows_at(index, "manifests"):
        name = text_at(entry, "annotations", "org.opencontainers.image.ref.name")
        yield name
        yield name.removeprefix("docker.io/").removeprefix("library/")


_NAMES: Mapping[str, Callable[[click.Context], Iterable[str]]] = {
    "container": _containers,
    "containers": _containers,
    "image": _images,
    "namespace": _namespaces,
    "objects": _pods,
    "pod": _pods,
    "pods": _pods,
    "references": _images,
    "wanted": _pods,
}
"""By the name of a parameter, whichever command it belongs to."""
