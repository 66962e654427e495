"""How a pull is shown: bars and lines."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from nsrun.cli.pull_progress import Bars, Lines, shown
from nsrun.images.progress import Progress, Stage, silent

NAME = "docker.io/library/nginx:latest"


def step(stage: Stage, layer: str = "", done: int = 0, total: int = 0) -> Progress:
    return Progress(reference=NAME, stage=stage, layer=layer and f"sha256:{layer * 64}", done=done, total=total)


class Terminal:
    """A terminal of 100 columns, and what bars draw on it."""

    def __init__(self, rows: int = 20) -> None:
        self.written = io.StringIO()
        self.console = Console(file=self.written, force_terminal=True, width=100, height=rows, color_system=None)
        self.bars = Bars(self.console)

    def shown(self) -> list[str]:
        """The lines of the picture as it is now."""
        picture = io.StringIO()
        Console(file=picture, width=100, color_system=None).print(self.bars.picture())
        return [line.rstrip() for line in picture.getvalue().splitlines() if line.strip()]


def test_a_layer_has_a_bar_with_bytes_and_what_becomes_of_it() -> None:
    terminal = Terminal()
    with terminal.bars.drawn() as tell:
        tell(step(Stage.RESOLVING))
        assert terminal.shown()[0].startswith(NAME)
        tell(step(Stage.DOWNLOADING, "a", 1_500_000, 3_000_000))
        tell(step(Stage.DOWNLOADING, "b", 0, 2_000_000))
        one, two = terminal.shown()
        assert re.match(r"^aaaaaaaaaaaa [━╸╺-]+ +1\.5/3\.0 MB", one), one
        assert two.startswith("bbbbbbbbbbbb ")
        tell(step(Stage.UNPACKING, "a", 0, 3_000_000))
        assert terminal.shown()[0].endswith("unpacking")
        tell(step(Stage.READY, "a", 3_000_000, 3_000_000))
        assert "3.0/3.0 MB" in terminal.shown()[0]
        assert terminal.shown()[0].endswith("ready")
        tell(step(Stage.READY, "c", 1000, 1000))
        assert "1.0/1.0 kB" in terminal.shown()[2]
        tell(step(Stage.READY))
        assert len(terminal.shown()) == 3


def test_what_is_done_makes_room() -> None:
    terminal = Terminal(rows=5)
    with terminal.bars.drawn() as tell:
        tell(step(Stage.RESOLVING))
        for layer in "abcdef":
            tell(step(Stage.DOWNLOADING, layer, 1, 10))
            if layer in "ace":
                tell(step(Stage.READY, layer, 10, 10))
        assert [line[0] for line in terminal.shown()] == ["b", "d", "e", "f"]
        tell(step(Stage.READY, "b", 10, 10))
        tell(step(Stage.DOWNLOADING, "0", 1, 10))
        assert [line[0] for line in terminal.shown()] == ["b", "d", "f", "0"]


def test_many_layers_leave_those_that_come() -> None:
    terminal = Terminal(rows=10)
    with terminal.bars.drawn() as tell:
        for layer in "0123456789abcdef":
            tell(step(Stage.DOWNLOADING, layer, 1, 10))
            tell(step(Stage.READY, layer, 10, 10))
        tell(step(Stage.DOWNLOADING, "z", 1, 10))
        lines = terminal.shown()
        assert len(lines) <= 10
        assert lines[-1].startswith("zzz")


def test_the_cursor_comes_back_whatever_happens() -> None:
    terminal = Terminal()
    with pytest.raises(KeyboardInterrupt), terminal.bars.drawn() as tell:
        tell(step(Stage.DOWNLOADING, "a", 1, 10))
        raise KeyboardInterrupt
    written = terminal.written.getvalue()
    assert "\x1b[?25l" in written
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")


def test_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for progress in (
        step(Stage.RESOLVING),
        step(Stage.DOWNLOADING, "a", 1, 1500),
        step(Stage.DOWNLOADING, "a", 1500, 1500),
        step(Stage.READY, "a", 1500, 1500),
        step(Stage.READY),
    ):
        lines.tell(progress)
    assert capsys.readouterr().err.splitlines() == [
        f"{NAME}: resolving",
        "aaaaaaaaaaaa: downloading 1.5kB",
        "aaaaaaaaaaaa: ready 1.5kB",
        f"{NAME}: ready",
    ]


def test_nothing_when_it_is_to_be_quiet() -> None:
    with shown(quiet=True) as report:
        assert report is silent
