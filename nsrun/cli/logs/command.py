"""``nsrun logs``: reads the CRI log files themselves, what was rotated first; the daemon only tells where they are."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from nsrun.cli.age import seconds_of
from nsrun.cli.documents import text_at
from nsrun.cli.logs.find import Run, choose, known_pods, run_of, why_silent, why_waiting
from nsrun.cli.logs.follow import Followed, follow_all
from nsrun.cli.logs.text import LogSource, drain
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.selectors import Selection, selection_options
from nsrun.errors import NotFoundError, NsrunError, SettingsError, describe_errno
from nsrun.support.logreader import LogReader
from nsrun.support.logtext import BOTH, STDERR, STDOUT, LogText

__all__ = ["command", "first_time"]

_STREAMS = {"all": BOTH, "stdout": STDOUT, "stderr": STDERR}
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_SELECTED_TAIL = 10
"""Lines of each log when a selector chose it: kubectl's number."""
_PIPE_SIZE = 1 << 20
_ZULU = r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """How much of the logs, and how."""

    streams: int
    since: bytes
    tail: int
    limit: int | None
    stamps: bool
    prefix: bool | None


@click.command("logs")
@click.argument("pods", nargs=-1, metavar="[POD]...")
@flag("--container", "-c", metavar="NAME", help="Which container.  [default: the first]")
@flag("--all-containers", is_flag=True, help="Every container.")
@flag("--previous", "-p", is_flag=True, help="What the run before wrote: why it was restarted.")
@flag("--follow", "-f", is_flag=True, help="Go on until the containers end.")
@flag("--tail", type=int, default=None, help="Only the last lines of each log.  [default: all; 10 with -l]")
@flag("--since", metavar="DURATION", help='Only what is newer: "10m", "1h30m".')
@flag("--since-time", metavar="TIME", help="Only what was written from then on (RFC 3339).")
@flag("--limit-bytes", type=click.IntRange(1), help="At most so many bytes of each log.")
@flag("--stream", type=click.Choice(tuple(_STREAMS)), default="all", help="Only one of the two streams.")
@flag("--timestamps", is_flag=True, help="Begin each line with its time.")
@flag(
    "--prefix/--no-prefix",
    default=None,
    help="Begin each line with its pod and container.  [default: for several logs on a terminal]",
)
@flag(
    "--max-log-requests",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="How many logs -l may follow at once.",
)
@selection_options
@pass_context
def command(
    context: Context,
    pods: tuple[str, ...],
    selection: Selection,
    container: str | None,
    all_containers: bool,
    previous: bool,
    follow: bool,
    tail: int | None,
    since: str | None,
    since_time: str | None,
    limit_bytes: int | None,
    stream: str,
    timestamps: bool,
    prefix: bool | None,
    max_log_requests: int,
) -> None:
    """Show what the containers of PODs wrote, or of the pods that -l selects.

    Both streams of a container go to standard output, as kubectl has it. The lines of several logs come in the order of
    their times, and, with -f, as they are written.
    """
    _check(pods, selection, container, every=all_containers)
    if tail is None:
        tail = _SELECTED_TAIL if selection.by_labels else -1
    if tail >= 0 and stream != "all":
        raise SettingsError("cannot use --tail with --stream: the lines of both streams are counted")
    wanted = _Wanted(
        streams=_STREAMS[stream],
        since=first_time(since, since_time, now=time.time()),
        tail=tail,
        limit=limit_bytes,
        stamps=timestamps,
        prefix=prefix,
    )
    known, layout = known_pods(context.layout)
    rows = choose(known, pods, selection, container=container, every_container=all_containers)
    if not rows:
        click.echo("No pods found.", err=True)
        return
    if follow and selection.by_labels and len(rows) > max_log_requests:
        raise SettingsError(
            f"cannot follow {len(rows)} logs: at most {max_log_requests} are allowed",
            hint="--max-log-requests allows more",
        )
    _write([run_of(row, layout, previous=previous) for row in rows], wanted, follow=follow and not previous)


def _check(pods: Sequence[str], selection: Selection, container: str | None, *, every: bool) -> None:
    """Raises SettingsError when the flags contradict each other."""
    if not pods and not selection.by_labels and not selection.fields:
        raise SettingsError("cannot choose a log: no pod is named", hint="nsrun logs POD, or nsrun logs -l app=web")
    if pods and (selection.by_labels or selection.fields):
        raise SettingsError("cannot use a selector and the name of a pod together")
    if container is not None and every:
        raise SettingsError("cannot use --container and --all-containers together")


def first_time(since: str | None, since_time: str | None, *, now: float) -> bytes:
    """Since when, as the records of logs tell times; empty for all. Raises SettingsError."""
    if since is not None and since_time is not None:
        raise SettingsError("cannot use --since and --since-time together")
    if since is not None:
        try:
            return _stamp(datetime.fromtimestamp(now - seconds_of(since), UTC))
        except (ValueError, OverflowError) as error:
            raise SettingsError(f"cannot use --since: {error}") from None
    if since_time is None:
        return b""
    if match := re.fullmatch(_ZULU, since_time):
        return f"{match[1]}.{match[2] or '0':0<9}Z".encode()
    try:
        return _stamp(datetime.fromisoformat(since_time).astimezone(UTC))
    except (ValueError, OverflowError):
        raise SettingsError(
            f'cannot use --since-time: must be a time such as "2026-01-31T12:00:00Z", not "{since_time}"'
        ) from None


def _stamp(moment: datetime) -> bytes:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()


def _write(runs: Sequence[Run], wanted: _Wanted, *, follow: bool) -> None:
    labelled = wanted.prefix if wanted.prefix is not None else len(runs) > 1 and sys.stdout.isatty()
    output = sys.stdout.buffer
    with contextlib.ExitStack() as opened:
        logs: list[Followed] = []
        for number, run in enumerate(runs):
            try:
                reader = opened.enter_context(_open(run))
            except NsrunError as error:
                if len(runs) == 1:
                    raise
                click.echo(f"nsrun: {error.message}", err=True)
                continue
            if wanted.tail >= 0:
                reader.skip_to_tail(wanted.tail)
            label = _label(run, number) if labelled else b""
            text = LogText(streams=wanted.streams, since=wanted.since, stamps=wanted.stamps, label=label)
            logs.append(Followed(run, LogSource(reader, text, limit=wanted.limit)))
        _widen_pipe()
        if follow:
            follow_all(logs, output.write, output.flush)
        else:
            drain([log.source for log in logs], output.write)
            output.flush()


def _open(run: Run) -> LogReader:
    """Raises NsrunError. Tells why the log is empty when the container could not even be started."""
    pod, name = text_at(run.row.pod, "metadata", "name"), text_at(run.row.spec, "name")
    try:
        reader = LogReader(run.log)
    except FileNotFoundError:
        raise NotFoundError(
            f'cannot read the log of container "{name}" in pod "{pod}": it has not started yet',
            hint=why_waiting(run.row),
        ) from None
    except OSError as error:
        raise NsrunError(f'cannot read "{run.log}": {describe_errno(error.errno or 0)}') from error
    if reader.empty() and (why := why_silent(run.row)):
        click.echo(f"nsrun: it never ran: {why}", err=True)
    return reader


def _label(run: Run, number: int) -> bytes:
    """``[pod/web/nginx] ``; on a terminal in a colour of its own, unless NO_COLOR is set (no-color.org)."""
    label = f"[{run.title}]"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        label = f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{label}\x1b[0m"
    return f"{label} ".encode()


def _widen_pipe() -> None:
    """Fewer turns between us and whoever reads; what is no pipe stays as it is."""
    with contextlib.suppress(OSError, ValueError):
        fcntl.fcntl(sys.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
