"""A root file system by fuse-overlayfs, where the kernel's overlayfs refuses: a process for each container.

It is given a device of a file system that is mounted already, detached: so it needs no mount point, the mount is the
container's alone, and when that is gone, the kernel ends the file system and with it the process.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.host.overlay import PROGRAM
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["fuse_overlay"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_SECONDS = 30.0


def fuse_overlay(layers: Sequence[str], *, upper: str, work: str) -> Fd:
    """The layers, topmost first, below ``upper``, as a detached mount, nodev. Blocks until the program serves it.
    Raises RuntimeFailure, OSError."""
    with ExitStack() as held:
        device = held.enter_context(Fd.open("/dev/fuse", os.O_RDWR))
        opened = [held.enter_context(Fd.open(path, _DIRECTORY)).fileno() for path in (*layers, upper, work)]
        tree = native.fuse_mount(device.fileno(), PROGRAM, native.MOUNT_ATTR_NODEV)
        try:
            _serve(device.fileno(), opened)
        except BaseException:
            tree.close()
            raise
        return tree


def _serve(device: int, opened: Sequence[int]) -> None:
    """It goes to the background once it serves. Paths with colons and commas are none here."""
    *layers, upper, work = (f"/proc/self/fd/{number}" for number in opened)
    options = f"lowerdir={':'.join(layers)},upperdir={upper},workdir={work},volatile"
    try:
        done = subprocess.run(
            [PROGRAM, "-o", options, f"/dev/fd/{device}"],
            pass_fds=(device, *opened),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        cause = describe_errno(error.errno or 0) if isinstance(error, OSError) else f"no answer in {_SECONDS:.0f} s"
        raise RuntimeFailure(f"cannot use {PROGRAM}: {cause}", reason="CreateContainerError") from error
    if done.returncode != 0:
        told = " ".join(done.stderr.decode("utf-8", "replace").split())[:300]
        raise RuntimeFailure(
            f"cannot use {PROGRAM}: {told or f'it ended with {done.returncode}'}", reason="CreateContainerError"
        )
