"""How far a pull or a push is, on standard error: a bar for each layer on a terminal, else a line for each step."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from nsrun.cli.size import size
from nsrun.images.progress import Progress, Report, Stage, silent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import TaskID

__all__ = ["Bars", "Lines", "shown"]

_MOVING = frozenset({Stage.DOWNLOADING, Stage.UPLOADING})
_DONE = frozenset({Stage.READY, Stage.PRESENT, Stage.MOUNTED})


@contextmanager
def shown(*, quiet: bool) -> Iterator[Report]:
    """What to tell while the block lasts. Whatever ends it, the terminal is left as it was: without bars, with a
    cursor. SIGTERM ends it as Ctrl-C does."""
    if quiet:
        yield silent
    elif not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines().tell
    else:
        from rich.console import Console

        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            with Bars(Console(stderr=True)).drawn() as report:
                yield report
        finally:
            signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Whoever runs an event loop hears of Ctrl-C in his own way; an exception from here could get lost in a callback.
    signal.raise_signal(signal.SIGINT)


class Lines:
    """One line for each step of each layer."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str]] = set()

    def tell(self, progress: Progress) -> None:
        step = (progress.reference, progress.layer, str(progress.stage))
        if step in self._told:
            return
        self._told.add(step)
        much = f" {size(progress.total)}" if progress.total else ""
        click.echo(f"{_short(progress)}: {progress.stage}{much}", err=True)


class Bars:
    """A bar for each blob that is on its way, one that only moves for an image of which nothing is known yet."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Drawing

        self._console = console
        self._drawing = Drawing(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[stage]}"),
            console=console,
            transient=True,
            expand=True,
        )
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._finished: list[TaskID] = []

    @contextmanager
    def drawn(self) -> Iterator[Report]:
        with self._drawing:
            yield self.tell

    def picture(self) -> RenderableType:
        """What is drawn now."""
        return self._drawing.get_renderable()

    def tell(self, progress: Progress) -> None:
        key = (progress.reference, progress.layer)
        if key not in self._bars:
            self._bars[key] = self._drawing.add_task(_short(progress), total=progress.total or None, stage="")
        bar, done = self._bars[key], progress.stage in _DONE
        moved = progress.total if done else progress.done if progress.stage in _MOVING else None
        stage = "" if progress.stage in _MOVING else str(progress.stage)
        self._drawing.update(bar, completed=moved, total=progress.total or None, stage=stage)
        if progress.layer:
            self._hide(self._bars.get((progress.reference, "")))
            if done and bar not in self._finished:
                self._finished.append(bar)
        elif done:
            self._hide(bar)
        self._make_room()

    def _hide(self, bar: TaskID | None) -> None:
        if bar is not None:
            self._drawing.update(bar, visible=False)

    def _make_room(self) -> None:
        """What is done leaves for what is not, the oldest first."""
        excess = sum(task.visible for task in self._drawing.tasks) - (self._console.height - 1)
        while excess > 0 and self._finished:
            self._hide(self._finished.pop(0))
            excess -= 1


def _short(progress: Progress) -> str:
    return progress.layer.partition(":")[2][:12] or progress.reference
