"""``nsrun --manifests DIR``: the daemon in the foreground, and what it says to whoever started it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsrun import __version__
from nsrun.model.status import PodStatus
from nsrun.model.wording import shown_url
from nsrun.settings import Settings
from nsrun.supervisor.board import StatusBoard
from nsrun.support.layout import PodName

if TYPE_CHECKING:
    from nsrun.daemon import Ending

__all__ = ["OneLine", "run_daemon"]


def run_daemon(settings: Settings, *, tips: bool, verbose: bool) -> int:
    """Runs until a signal; returns the exit code. Raises NsrunError."""
    _log_to_stderr(verbose=verbose)
    from nsrun import daemon

    ending = asyncio.run(daemon.run(settings, watcher=_Greeter(settings, tips=tips).watch))
    with contextlib.suppress(OSError):  # the terminal may be what ended us
        click.echo(_farewell(ending), err=True)
    return 0


def _farewell(ending: Ending) -> str:
    if ending.down:
        return "nsrun: stopped; everything is removed"
    if not ending.pods_left:
        return "nsrun: stopped"
    pods = "1 pod keeps" if ending.pods_left == 1 else f"{ending.pods_left} pods keep"
    return f"nsrun: stopped; {pods} running. Start nsrun again to look after them; nsrun down removes them"


def _log_to_stderr(*, verbose: bool) -> None:
    """What happens to pods is always told; the steps of the parts only with --verbose."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    logging.getLogger("nsrun.supervisor.board").setLevel(logging.INFO)


class OneLine(logging.Formatter):
    """One line for each message, with nothing in it that a terminal acts on: messages quote what containers wrote, who
    must not be able to forge lines, or do worse."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - a name of logging
        line = super().formatMessage(record).rstrip()
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class _Greeter:
    """Says that nsrun runs, and, with ``tips``, what to type next when the first pod is ready."""

    def __init__(self, settings: Settings, *, tips: bool) -> None:
        self._manifests = settings.manifests
        self._shown = " and ".join(_sources(settings))
        self._tips = tips

    async def watch(self, board: StatusBoard) -> None:
        click.echo(f"nsrun {__version__}: running the pods of {self._shown}", err=True)
        if not self._tips:
            return
        async for _ in board.watch_pods():
            ready = [(pod.name, status.pod_ip) for pod, status in board.pods() if _is_ready(status)]
            if ready:
                click.echo(self._text(*ready[0]), err=True)
                return

    def _text(self, name: PodName, address: str) -> str:
        nsrun = _shown(Path(sys.argv[0]))
        removal = f"\n    rm {_shown(self._manifests)}/{name.name}.yaml" if self._manifests is not None else ""
        return f"""
Pod {name} is ready at {address}. In another terminal, try:

    curl http://{address}/
    sudo ip netns exec {name.netns} ss -lnt
    sudo {nsrun} ps
    sudo {nsrun} logs {name.name}{removal}
"""


def _sources(settings: Settings) -> list[str]:
    directory = [str(settings.manifests)] if settings.manifests is not None else []
    return [*directory, shown_url(settings.manifest_url)] if settings.manifest_url else directory


def _shown(path: Path) -> str:
    """Short where it can be."""
    try:
        return f"{path.absolute().relative_to(Path.cwd())}"
    except ValueError:
        return str(path)


def _is_ready(status: PodStatus) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in status.conditions)
