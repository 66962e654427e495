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
from nsrun.host.rootless.world import world
from nsrun.model.hostports import host_ports
from nsrun.model.pod import Pod
from nsrun.model.wording import shown_url
from nsrun.settings import Settings
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.status import is_reachable

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
        self._by_root = world(settings.layout.run_dir) is None
        self._shown = " and ".join(_sources(settings))
        self._tips = tips

    async def watch(self, board: StatusBoard) -> None:
        click.echo(f"nsrun {__version__}: running the pods of {self._shown}", err=True)
        if not self._tips:
            return
        async for _ in board.watch_pods():
            ready = [(pod, status.pod_ip) for pod, status in board.pods() if is_reachable(status)]
            if ready:
                click.echo(self._text(*ready[0]), err=True)
                return

    def _text(self, pod: Pod, address: str) -> str:
        nsrun, name = _shown(Path(sys.argv[0])), pod.name
        if self._by_root:
            nsrun = f"sudo {nsrun}"
            first = [f"curl http://{address}/", f"sudo ip netns exec {name.netns} ss -lnt"]
        else:
            enter = f"{nsrun} netns {name.name} --"
            port = host_ports(pod)[0].host_port if host_ports(pod) else 0
            first = [
                f"curl http://localhost:{port}/" if port else f"{enter} curl http://{address}/",
                f"{enter} ss -lnt",
            ]
        last = [f"rm {_shown(self._manifests)}/{name.name}.yaml"] if self._manifests is not None else []
        lines = [*first, f"{nsrun} ps", f"{nsrun} logs {name.name}", *last]
        told = "\n".join(f"    {line}" for line in lines)
        return f"\nPod {name} is ready at {address}. In another terminal, try:\n\n{told}\n"


def _sources(settings: Settings) -> list[str]:
    directory = [str(settings.manifests)] if settings.manifests is not None else []
    return [*directory, shown_url(settings.manifest_url)] if settings.manifest_url else directory


def _shown(path: Path) -> str:
    """Short where it can be."""
    try:
        return f"{path.absolute().relative_to(Path.cwd())}"
    except ValueError:
        return str(path)
