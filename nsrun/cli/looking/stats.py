"""``nsrun stats``: what containers use, as ``podman stats`` and ``docker stats`` show it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence

import click

from nsrun.cli.documents import ContainerRow, Document, at, containers, rows_at, text_at
from nsrun.cli.looking.usage_rows import UsageRow, container_rows
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.size import size
from nsrun.cli.table import table
from nsrun.errors import NotFoundError

__all__ = ["chosen", "command", "entries"]

_SHORT = 12
_NONE = "--"
# Podman's keys and docker's titles.
_COLUMNS = (
    ("id", "ID"),
    ("name", "NAME"),
    ("cpu_percent", "CPU %"),
    ("mem_usage", "MEM USAGE / LIMIT"),
    ("mem_percent", "MEM %"),
    ("net_io", "NET IO"),
    ("block_io", "BLOCK IO"),
    ("pids", "PIDS"),
    ("cpu_time", "CPU TIME"),
    ("avg_cpu", "AVG CPU %"),
)

Key = tuple[str, str, str]
Entry = dict[str, str]


@click.command("stats")
@click.argument("wanted", nargs=-1, metavar="[POD[/CONTAINER]]...")
@flag("--all", "-a", "everything", group="Which", is_flag=True, help="Also containers that do not run.")
@flag("--no-stream", group="Output", is_flag=True, help="Print once, as it does when it is not on a terminal.")
@flag("--no-trunc", group="Output", is_flag=True, help="Whole ids.")
@flag("--format", group="Output", type=click.Choice(["table", "json"]), default="table", help="How it is written.")
@flag(
    "--interval",
    "-i",
    group="Output",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@pass_context
def command(
    context: Context,
    wanted: tuple[str, ...],
    everything: bool,
    no_stream: bool,
    no_trunc: bool,
    format: str,
    interval: float,
) -> None:
    """Show what containers use: of the PODs and CONTAINERs named, or of all.

    The network is the pod's: its containers share it.
    """

    def look() -> list[Entry]:
        stopped = containers(context.api.pods()) if everything else ()
        found = chosen(entries(context.api.usage(), stopped, now=time.time()), wanted)
        return [entry if no_trunc else {**entry, "id": entry["id"][:_SHORT]} for entry in found]

    if format == "json":
        click.echo(json.dumps(look(), indent=4))
    elif no_stream or not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo(_table(look()))
    else:
        from nsrun.cli.looking.screen import Screen

        first = look()
        with Screen() as screen:
            while True:
                width, _ = screen.size
                screen.draw([line[:width] for line in _table(first).split("\n")])
                key = screen.key(interval)
                if key in ("q", "Q", "\x03", "\x04"):
                    return
                first = first if key == "" else look()


def entries(usage: Document, stopped: Sequence[ContainerRow], *, now: float) -> dict[Key, Entry]:
    """One for each container, in podman's keys. ``stopped``: all containers, those too that run."""
    found = {row.key: _entry(row, usage, now) for row in container_rows(rows_at(usage, "pods"))}
    for row in stopped:
        pod, name = at(row.pod, "metadata"), text_at(row.spec, "name")
        key = (text_at(pod, "namespace"), text_at(pod, "name"), name)
        nothing = {column: _NONE for column, _ in _COLUMNS} | {"id": row.id or _NONE, "name": f"{key[1]}/{name}"}
        found.setdefault(key, nothing)
    return dict(sorted(found.items()))


def _entry(row: UsageRow, usage: Document, now: float) -> Entry:
    nano, seconds = row.number("cpuNanoCores"), row.number("cpuNanoSeconds")
    started = at(row.document, "startedAt")
    age = now - started if isinstance(started, int | float) else 0
    memory = row.number("memoryBytes")
    limit = row.number("memoryLimitBytes") or _whole(usage)
    return {
        "id": text_at(row.document, "id"),
        "name": row.name,
        "cpu_time": _NONE if seconds is None else _duration(seconds / 1e9),
        "cpu_percent": _percent(nano, 1e9),
        "avg_cpu": _percent(seconds, age * 1e9),
        "mem_usage": _pair(memory, limit),
        "mem_percent": _percent(memory, limit),
        "net_io": _pair(row.number("receivedBytes"), row.number("sentBytes")),
        "block_io": _pair(row.number("readBytes"), row.number("writtenBytes")),
        "pids": text_at(row.document, "threads") or _NONE,
    }


def _whole(usage: Document) -> int:
    """Without a limit there is all that the machine has."""
    total = at(usage, "node", "memoryTotalBytes")
    return total if isinstance(total, int) else 0


def _percent(part: float | None, whole: float) -> str:
    """Of one core: a container that keeps two busy is at 200 %."""
    return _NONE if part is None or whole <= 0 else f"{part / whole * 100:.2f}%"


def _pair(one: int | None, other: int | None) -> str:
    return " / ".join(_NONE if amount is None else size(amount) for amount in (one, other))


def _duration(seconds: float) -> str:
    """``0.0125`` → ``12.500ms``, ``75.5`` → ``1m15.500s``: as Go writes it."""
    if seconds < 1:
        return f"{seconds * 1000:.3f}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}h"] if hours else []
    parts += [f"{minutes}m"] if hours or minutes else []
    return "".join((*parts, f"{rest:.3f}s"))


def chosen(found: Mapping[Key, Entry], wanted: Sequence[str]) -> list[Entry]:
    """Those that are called ``pod``, ``pod/container``, ``namespace/pod`` or ``namespace/pod/container``; all when
    nothing is named. Raises NotFoundError for a name that nothing has."""
    for name in wanted:
        if not any(name in _names(key) for key in found):
            raise NotFoundError(f'cannot show "{name}": nothing of that name runs', hint="nsrun ps lists what runs")
    return [entry for key, entry in found.items() if not wanted or not _names(key).isdisjoint(wanted)]


def _names(key: Key) -> frozenset[str]:
    namespace, pod, container = key
    return frozenset({pod, f"{pod}/{container}", f"{namespace}/{pod}", f"{namespace}/{pod}/{container}"})


def _table(found: Sequence[Entry]) -> str:
    return table([title for _, title in _COLUMNS], [[entry[key] for key, _ in _COLUMNS] for entry in found])
