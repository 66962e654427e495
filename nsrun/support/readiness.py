"""Waiting for a descriptor on the event loop: a pidfd becomes readable when its process ends (pidfd_open(2))."""

from __future__ import annotations

import asyncio

__all__ = ["readable"]


async def readable(fd: int) -> None:
    """Returns as soon as there is something to read. Nobody else waits for the same descriptor on this loop."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
