"""The person's terminal, lent to a job in the machine."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vagrant.channel import Channel, ChannelError, Job

__all__ = ["attached", "size"]


@contextmanager
def attached(channel: Channel, job: Job) -> Iterator[None]:
    """While a job with a terminal runs, every key goes to it, as it is typed. Nothing happens for other jobs."""
    if not job.tty:
        yield
        return
    fd = sys.stdin.fileno()
    threading.Thread(target=_forward, args=(channel, fd), daemon=True).start()
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    heard = signal.signal(signal.SIGWINCH, lambda *_: _tell_size(channel))
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, heard)


def size() -> tuple[int, int] | None:
    """Rows and columns of the person's terminal; None when there is none."""
    try:
        found = os.get_terminal_size(sys.stdin.fileno())
    except (OSError, ValueError):
        return None
    return found.lines, found.columns


def _tell_size(channel: Channel) -> None:
    """In a thread: the main one may be in the middle of a frame when the signal comes."""
    threading.Thread(target=_resize, args=(channel,), daemon=True).start()


def _resize(channel: Channel) -> None:
    with suppress(ChannelError):  # the machine has ended
        channel.resize(*(size() or (24, 80)))


def _forward(channel: Channel, fd: int) -> None:
    try:
        while data := os.read(fd, 1024):
            channel.type(data)
        channel.type(b"\x04")
    except (ChannelError, OSError):
        return  # the machine has ended
