"""``nsrun logs``: reads the CRI log files themselves, what was rotated first; the daemon only tells where they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from nsrun.cli.documents import ContainerRow, Document, at, containers, find_pod, text_at
from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import NotFoundError, NsrunError
from nsrun.support.crilog import parse_line
from nsrun.support.layout import Layout, PodName
from nsrun.support.logreader import LogReader

__all__ = ["attempt_before", "attempt_of", "command", "content"]

_LOOK_AGAIN = 0.1
_ASK_AGAIN = 1.0


@click.command("logs")
@click.argument("pod")
@flag("--container", "-c", help="Which container.  [default: the first]")
@flag("--namespace", "-n", help="The pod's namespace.")
@flag("--follow", "-f", is_flag=True, help="Go on until the container ends.")
@flag("--tail", type=int, default=-1, help="Only the last lines.  [default: all]")
@flag("--previous", "-p", is_flag=True, help="What the run before wrote: why it was restarted.")
@pass_context
def command(
    context: Context, pod: str, container: str | None, namespace: str | None, follow: bool, tail: int, previous: bool
) -> None:
    """Show what a container of POD wrote."""
    row = _choose(find_pod(context.api.pods(), pod, namespace), container)
    path = _path(context, row, attempt_before(row) if previous else attempt_of(row))
    try:
        reader = LogReader(path)
    except FileNotFoundError:
        if previous:
            raise _no_run_before(row) from None
        raise NotFoundError(f'cannot read the log of "{pod}": it has not started yet', hint=_why_waiting(row)) from None
    except OSError as error:
        raise NsrunError(f'cannot read "{path}": {error.strerror}') from error
    with reader:
        if reader.empty() and (why := _why_silent(row)):
            click.echo(f"nsrun: it never ran: {why}", err=True)
        if tail >= 0:
            reader.skip_to_tail(tail)
        # What has ended has nothing to follow.
        for chunk in content(reader.lines(_patience(context, row) if follow and not previous else lambda: False)):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def _choose(pod: Document, name: str | None) -> ContainerRow:
    rows = containers([pod])
    names = [text_at(row.spec, "name") for row in rows]
    if name is None:
        if len(names) > 1:
            known = [f"{name} (init)" if row.init else name for row, name in zip(rows, names, strict=True)]
            click.echo(f'Defaulted container "{names[0]}" out of: {", ".join(known)}', err=True)
        return rows[0]
    if name not in names:
        raise NotFoundError(
            f'cannot find container "{name}" in pod "{text_at(pod, "metadata", "name")}"',
            hint=f"it has: {', '.join(names)}",
        )
    return rows[names.index(name)]


def attempt_of(row: ContainerRow) -> int:
    """The number of the last run."""
    return int(text_at(row.status, "restartCount") or 0)


def attempt_before(row: ContainerRow) -> int:
    """The number of the run that the status calls the last one: the one before this one, or, when the container waits
    to run again, the one that ended. Raises NotFoundError when there is none."""
    if at(row.status, "lastState", "terminated") is None:
        raise _no_run_before(row)
    return attempt_of(row) - (0 if row.state == "waiting" else 1)


def _no_run_before(row: ContainerRow) -> NotFoundError:
    name, pod = text_at(row.spec, "name"), text_at(row.pod, "metadata", "name")
    return NotFoundError(f'cannot read the previous log of container "{name}": it ran only once in pod "{pod}"')


def _path(context: Context, row: ContainerRow, attempt: int) -> Path:
    layout = Layout(log_dir=Path(str(context.api.info()["logDir"])))
    name = PodName(namespace=text_at(row.pod, "metadata", "namespace"), name=text_at(row.pod, "metadata", "name"))
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


def _patience(context: Context, row: ContainerRow) -> Callable[[], bool]:
    """Waits a little as long as this very run of the container runs, which is asked at most once a second."""
    next_question = 0.0

    def wait() -> bool:
        nonlocal next_question
        if time.monotonic() >= next_question:
            next_question = time.monotonic() + _ASK_AGAIN
            if not any(other.id == row.id and other.state == "running" for other in containers(context.api.pods())):
                return False
        time.sleep(_LOOK_AGAIN)
        return True

    return wait


def content(lines: Iterator[bytes]) -> Iterator[bytes]:
    """What the container wrote, from CRI log lines; lines that are none are passed over."""
    for line in lines:
        try:
            record = parse_line(line)
        except ValueError:
            continue
        yield record.content if record.partial else record.content + b"\n"
