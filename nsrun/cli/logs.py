"""``nsrun logs``: reads the CRI log files themselves; the daemon only tells where they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import click

from nsrun.cli.documents import ContainerRow, Document, containers, find_pod, text_at
from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import NotFoundError, NsrunError
from nsrun.support.crilog import parse_line
from nsrun.support.layout import Layout, PodName

__all__ = ["command", "content", "tail_offset"]

_BLOCK = 1 << 16
_LOOK_AGAIN = 0.1
_ASK_AGAIN = 1.0


@click.command("logs")
@click.argument("pod")
@flag("--container", "-c", help="Which container.  [default: the first]")
@flag("--namespace", "-n", help="The pod's namespace.")
@flag("--follow", "-f", is_flag=True, help="Go on until the container ends.")
@flag("--tail", type=int, default=-1, help="Only the last lines.  [default: all]")
@pass_context
def command(context: Context, pod: str, container: str | None, namespace: str | None, follow: bool, tail: int) -> None:
    """Show what a container of POD wrote."""
    row = _choose(find_pod(context.api.pods(), pod, namespace), container)
    path = _path(context, row)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotFoundError(f'cannot read the log of "{pod}": it has not started yet', hint=_why_waiting(row)) from None
    except OSError as error:
        raise NsrunError(f'cannot read "{path}": {error.strerror}') from error
    with file:
        if file.seek(0, 2) == 0 and (why := _why_silent(row)):
            click.echo(f"nsrun: it never ran: {why}", err=True)
        file.seek(tail_offset(file, tail) if tail >= 0 else 0)
        alive = _liveness(context, row) if follow else lambda: False
        for chunk in content(_lines(file, alive)):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def _choose(pod: Document, name: str | None) -> ContainerRow:
    rows = containers([pod])
    names = [text_at(row.spec, "name") for row in rows]
    if name is None:
        if len(names) > 1:
            click.echo(f'Defaulted container "{names[0]}" out of: {", ".join(names)}', err=True)
        return rows[0]
    if name not in names:
        raise NotFoundError(
            f'cannot find container "{name}" in pod "{text_at(pod, "metadata", "name")}"',
            hint=f"it has: {', '.join(names)}",
        )
    return rows[names.index(name)]


def _path(context: Context, row: ContainerRow) -> Path:
    layout = Layout(log_dir=Path(str(context.api.info()["logDir"])))
    name = PodName(namespace=text_at(row.pod, "metadata", "namespace"), name=text_at(row.pod, "metadata", "name"))
    attempt = int(text_at(row.status, "restartCount") or 0)
    return layout.container_log(name, text_at(row.pod, "metadata", "uid"), text_at(row.spec, "name"), attempt)


def _why_waiting(row: ContainerRow) -> str | None:
    reason, message = (text_at(row.status, "state", "waiting", key) for key in ("reason", "message"))
    return f"{reason}: {message}" if message else reason or None


def _why_silent(row: ContainerRow) -> str:
    """Why the last run of the container wrote nothing, when it could not even be started."""
    for state in ("state", "lastState"):
        if text_at(row.status, state, "terminated", "reason") == "StartError":
            return text_at(row.status, state, "terminated", "message")
    return ""


def _liveness(context: Context, row: ContainerRow) -> Callable[[], bool]:
    """Asks, at most once a second, whether this very run of the container still runs."""
    next_question = 0.0
    alive = True

    def ask() -> bool:
        nonlocal next_question, alive
        if time.monotonic() >= next_question:
            next_question = time.monotonic() + _ASK_AGAIN
            alive = any(other.id == row.id and other.state == "running" for other in containers(context.api.pods()))
        return alive

    return ask


def _lines(file: BinaryIO, alive: Callable[[], bool]) -> Iterator[bytes]:
    """Whole lines as they come; ends at the end of the file once ``alive`` says no (and then reads once more)."""
    rest = b""
    last = False
    while True:
        block = file.read(_BLOCK)
        if block:
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
        elif last:
            return
        elif alive():
            time.sleep(_LOOK_AGAIN)
        else:
            last = True


def content(lines: Iterator[bytes]) -> Iterator[bytes]:
    """What the container wrote, from CRI log lines; lines that are none are passed over."""
    for line in lines:
        try:
            record = parse_line(line)
        except ValueError:
            continue
        yield record.content if record.partial else record.content + b"\n"


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last ``lines`` lines begin; reads backwards, block by block."""
    position = end = file.seek(0, 2)
    wanted = lines + 1 if _ends_with_newline(file, end) else lines
    if lines == 0:
        return end
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        found = block.count(b"\n")
        if found >= wanted:
            cut = len(block)
            for _ in range(wanted):
                cut = block.rindex(b"\n", 0, cut)
            return start + cut + 1
        wanted -= found
        position = start
    return 0


def _ends_with_newline(file: BinaryIO, end: int) -> bool:
    if end == 0:
        return False
    file.seek(end - 1)
    return file.read(1) == b"\n"
