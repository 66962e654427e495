"""A terminal that is drawn on as a whole, and given back as it was: plain ANSI sequences, one write for each picture.

Each line is overwritten and the rest of it cleared, so nothing flickers; the picture is on the alternate screen, so
what was on the terminal before is there again afterwards.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import termios
import tty
from collections.abc import Sequence
from types import FrameType, TracebackType

__all__ = ["Screen", "picture"]

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # the other screen, no cursor, no wrapping of long lines
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


def picture(lines: Sequence[str], rows: int) -> str:
    """As many of the lines as fit, as what is to be written to the terminal."""
    return _HOME + "\r\n".join(f"{line}{_END_OF_LINE}" for line in lines[:rows]) + _REST


class Screen:
    """The terminal of standard input and output, while the block lasts. What stops it (SIGTERM, an error, Ctrl-C) gives
    the terminal back first; what suspends it (Ctrl-Z) is not listened to."""

    def __init__(self, stdin: int = 0, stdout: int = 1) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._before: list[object] = []
        self._handlers: dict[signal.Signals, object] = {}
        self._wake_out, self._wake_in = -1, -1

    def __enter__(self) -> Screen:
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number, handler in ((signal.SIGWINCH, self._resized), (signal.SIGTERM, self._ended)):
            self._handlers[number] = signal.signal(number, handler)
        self._before = termios.tcgetattr(self._stdin)
        tty.setcbreak(self._stdin)
        attributes = termios.tcgetattr(self._stdin)
        attributes[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self._stdin, termios.TCSANOW, attributes)
        self._write(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(_LEAVE)
        termios.tcsetattr(self._stdin, termios.TCSAFLUSH, self._before)  # type: ignore[arg-type]
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self._wake_out)
        os.close(self._wake_in)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, now."""
        return tuple(shutil.get_terminal_size())  # type: ignore[return-value]

    def draw(self, lines: Sequence[str]) -> None:
        """Shows these lines instead of what is there."""
        self._write(picture(lines, self.size[1]))

    def key(self, seconds: float) -> str | None:
        """The next key; "" when the size is another one; None when nothing happened for so long. A terminal that is
        gone says Ctrl-D."""
        ready, _, _ = select.select([self._stdin, self._wake_out], [], [], max(seconds, 0.0))
        if self._wake_out in ready:
            os.read(self._wake_out, 64)
            return ""
        if self._stdin in ready:
            typed = os.read(self._stdin, 64)
            return typed.decode("utf-8", "replace")[:1] if typed else "\x04"
        return None

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._stdout, data) :]

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        try:
            os.write(self._wake_in, b"w")
        except BlockingIOError:
            pass  # it is awake already

    def _ended(self, _number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt
