"""The person's terminal, lent to a job in the machine."""

from __future__ import annotations

import os
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from vagrant.channel import Channel, ChannelError, Job

__all__ = ["attached"]


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
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _forward(channel: Channel, fd: int) -> None:
    try:
        while data := os.read(fd, 1024):
            channel.type(data)
        channel.type(b"\x04")
    except (ChannelError, OSError):
        return  # the machine has ended
