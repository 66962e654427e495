"""What the user's namespaces are, for those who work in them."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import signal
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import HostError, describe_errno
from nsrun.host.mountinfo import parse_mountinfo
from nsrun.host.rootless.holding import find, record_path
from nsrun.host.rootless.maps import MapLine, parse_map
from nsrun.host.rootless.places import RUN_DIR
from nsrun.support import native

__all__ = ["World", "network_pin", "world"]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The namespaces this process is in, and the network namespace for its pods.

    ``holder``: the pid of who holds them; ``netns``: the file on which the network namespace is pinned, in this mount
    namespace; ``uid``, ``gid``, ``name``: who the user is on the host; ``uids``, ``gids``: the maps, with the host's
    ids outside."""

    run_dir: Path
    holder: int
    netns: Path
    uid: int
    gid: int
    name: str
    uids: tuple[MapLine, ...]
    gids: tuple[MapLine, ...]

    @property
    def single(self) -> bool:
        """Whether there is one user id, and one group id, only."""
        return sum(line.count for line in self.uids) == 1

    def end(self) -> None:
        """Unmounts what is mounted in the run directory, and the network namespace's pin, and ends the holder: all is
        gone when the last process inside is. Harmless when it was done before. Raises HostError."""
        try:
            self._unmount_all()
            self.netns.unlink(missing_ok=True)
            if self.netns.parent != self.run_dir:
                with contextlib.suppress(OSError):  # podman's are in there, too
                    self.netns.parent.rmdir()
            found = find(str(self.run_dir))
            if found is not None:
                with found[1] as pidfd, contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd.fileno(), signal.SIGTERM)
            Path(record_path(str(self.run_dir))).unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"cannot end the user's namespaces: {describe_errno(error.errno or 0)}") from error

    def _unmount_all(self) -> None:
        """The youngest first: it may be on an older one. What came from the host, below a run directory that holds
        mounts of its own, is locked here (EINVAL, mount_namespaces(7)) and stays."""
        below = f"{self.run_dir.resolve()}/"
        for mount in reversed(parse_mountinfo(Path("/proc/self/mountinfo").read_text())):
            if mount.point.startswith(below) or mount.point == str(self.netns):
                try:
                    native.umount(mount.point, native.MNT_DETACH | native.UMOUNT_NOFOLLOW)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.ENOENT):
                        raise


def network_pin(run_dir: str) -> str:
    """The file on which the user's network namespace is pinned, in the user's mount namespace. When the run directory
    is in the user's runtime directory, it is where Debian's AppArmor profile lets pasta open it, beside podman's
    (/etc/apparmor.d/abstractions/pasta)."""
    runtime, name = os.path.split(run_dir)
    users, uid = os.path.split(runtime)
    return f"{runtime}/netns/{name}" if users == "/run/user" and uid.isdigit() else f"{run_dir}/rootless-netns"


def world(run_dir: str | os.PathLike[str] | None = None) -> World | None:
    """The one of ``run_dir``, NSRUN_RUN_DIR by default; None when this process is in none: it is root's."""
    place = os.fspath(run_dir) if run_dir is not None else os.environ.get(RUN_DIR, "")
    found = find(place) if place else None
    if found is None:
        return None
    holder, pidfd = found
    pidfd.close()
    if not _same_users(holder.pid):
        return None
    uids, gids = (parse_map(Path(f"/proc/self/{kind}_map").read_text()) for kind in ("uid", "gid"))
    uid, gid = _outside(uids), _outside(gids)
    return World(
        run_dir=Path(place),
        holder=holder.pid,
        netns=Path(network_pin(place)),
        uid=uid,
        gid=gid,
        name=_name(uid),
        uids=uids,
        gids=gids,
    )


def _same_users(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino
    except OSError:
        return False


def _outside(lines: tuple[MapLine, ...]) -> int:
    return next(line.outside for line in lines if line.inside == 0)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
