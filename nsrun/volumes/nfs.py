"""``nfs``: a directory of a server, mounted by mount(8) and its helper, which know what this kernel cannot be told by
one call: versions, ports, security flavours.

The programs are children with a deadline; what they mounted is found again in the kernel's list of mounts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from nsrun.errors import VolumeError
from nsrun.model.running import PreparedVolume
from nsrun.model.volume import NfsVolume
from nsrun.volumes.mounts import mounted_at
from nsrun.volumes.places import make_place
from nsrun.volumes.within import check_mountable

__all__ = ["PLUGIN", "SECONDS", "prepare_nfs"]

PLUGIN = "kubernetes.io~nfs"

_MODE = 0o750
_PLACES = "/sbin:/usr/sbin:/usr/local/sbin:/bin:/usr/bin"
SECONDS = 120.0  # the kubelet's patience with a mount
_SECONDS_TO_DIE = 5.0
_REMEDY = "install nfs-common (Debian, Ubuntu) or nfs-utils (Fedora)"


async def prepare_nfs(name: str, source: NfsVolume, directory: Path, *, seconds: float = SECONDS) -> PreparedVolume:
    """Mounts the server's directory on ``directory``, or keeps what is mounted there. ``seconds``: how long a server
    may take. Raises VolumeError (without the volume's name), OSError."""
    check_mountable("what an NFS server has", "mount it as root, and use hostPath")
    if not await asyncio.to_thread(_make, directory):
        await _mount(name, source, directory, seconds)
    return PreparedVolume(name=name, path=str(directory), read_only=source.read_only)


def _make(directory: Path) -> bool:
    """Whether it is mounted already."""
    if mounted_at(directory):
        return True
    make_place(directory, _MODE)
    return False


async def _mount(name: str, source: NfsVolume, directory: Path, seconds: float) -> None:
    mount = shutil.which("mount", path=_PLACES)
    if mount is None or shutil.which("mount.nfs", path=_PLACES) is None:
        raise VolumeError("the program mount.nfs is not installed", hint=_REMEDY)
    options = "nosuid,nodev," + ("ro" if source.read_only else "rw")
    what = f"{source.server}:{source.path}"
    child = await _start(mount, "-t", "nfs", "-o", options, "--", what, str(directory))
    try:
        async with asyncio.timeout(seconds):
            _, said = await child.communicate()
    except TimeoutError:
        raise VolumeError(
            f"{what} did not answer within {seconds:g} s",
            hint="is the server reachable from this machine?",
        ) from None
    finally:
        await _end(child)
    if child.returncode:
        words = said.decode("utf-8", "replace").strip().splitlines()
        raise VolumeError(words[-1] if words else f"mount ended with {child.returncode}")


async def _start(*arguments: str) -> Process:
    """In a session of its own. Cancelled while it starts, it is ended: it may have started a helper already."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *arguments,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env={"PATH": _PLACES, "LC_ALL": "C"},
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end(await starting)
        raise


async def _end(child: Process) -> None:
    """Kills it with its helper when it has not ended, and waits for it a little: a process that waits for a server in
    the kernel goes when the kernel lets it."""
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS_TO_DIE):
            await child.wait()
