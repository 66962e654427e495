"""Somebody looks around in a user's namespaces: the pods' network too, and everything where tools look for it.

ip-netns(8) looks in /run/netns, where only root can make a directory, and /sys shows the network of who mounted it. So
the visitor gets a mount namespace of his own, in which /run has all there is and the pins, and /sys is mounted anew.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nsrun.errors import HostError, describe_errno
from nsrun.host.rootless.world import World
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["visit"]

_RUN, _NETNS, _SYS = Path("/run"), Path("/run/netns"), Path("/sys")
_TIGHT = native.MS_NOSUID | native.MS_NODEV


def visit(own: World, *, pins: Path, stage: Path) -> None:
    """This process, which is inside already, joins the network namespace and takes a mount namespace of its own.
    ``pins``: where the pods' network namespaces are; ``stage``: an empty directory. Raises HostError."""
    try:
        with Fd.open(own.netns, os.O_RDONLY | os.O_NOFOLLOW) as namespace:
            native.setns(namespace.fileno(), native.CLONE_NEWNET)
        native.unshare(native.CLONE_NEWNS)
        native.mount("", "/", "none", native.MS_SLAVE | native.MS_REC)
        # Over the host's: what was mounted before this user namespace was made is locked (mount_namespaces(7)).
        native.mount("sysfs", str(_SYS), "sysfs", _TIGHT | native.MS_NOEXEC)
        pins.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _NETNS.is_dir():
            _copy_run(stage)
        native.mount(str(pins), str(_NETNS), "none", native.MS_BIND | native.MS_REC)
    except OSError as error:
        raise HostError(
            f"cannot look around in the user's namespaces: {describe_errno(error.errno or 0)}"
            + (f' ("{error.filename}")' if error.filename else "")
        ) from error


def _copy_run(stage: Path) -> None:
    """A /run of ours, with everything of the host's in its place and a ``netns``. What the host puts right into /run
    from now on is not in it."""
    stage.mkdir(mode=0o700, parents=True, exist_ok=True)
    native.mount("tmpfs", str(stage), "tmpfs", _TIGHT, "mode=755")
    for entry in os.scandir(_RUN):
        target = stage / entry.name
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            target.symlink_to(os.readlink(entry.path))
            continue
        if stat.S_ISDIR(found.st_mode):
            target.mkdir()
        else:
            target.touch()
        native.mount(entry.path, str(target), "none", native.MS_BIND | native.MS_REC)
    (stage / "netns").mkdir()
    native.mount(str(stage), str(_RUN), "none", native.MS_BIND | native.MS_REC)
