"""Makes the user's namespaces, or goes back into those whose holder is gone. Blocks; for processes with one thread."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from nsrun.errors import HostError, describe_errno
from nsrun.host.rootless.entering import join
from nsrun.host.rootless.holder import HolderFailed, spawn
from nsrun.host.rootless.holding import Holder, find, format_record, open_process, record_path, start_ticks
from nsrun.host.rootless.ids import Ids, available_ids
from nsrun.host.rootless.mapping import MapRefused, write_maps
from nsrun.host.rootless.refusals import explain, userns_facts
from nsrun.host.rootless.world import network_pin
from nsrun.support.atomic import write_atomic
from nsrun.support.boot import boot_id
from nsrun.support.fds import Fd
from nsrun.support.native import abi

__all__ = ["Started", "revive", "start_holder"]

_CREDENTIALS = struct.Struct("=iII")  # struct ucred


class Started:
    """A holder that was made. ``warnings``: what is less than it could be, each with its remedy."""

    def __init__(self, pidfd: Fd, warnings: tuple[HostError, ...]) -> None:
        self.pidfd = pidfd
        self.warnings = warnings


def start_holder(run_dir: str) -> Started:
    """The holder of ``run_dir``, with as many ids as there are. Another process may have made one meanwhile: then that.
    Raises HostError."""
    with _locked(run_dir):
        found = find(run_dir)
        if found is not None:
            return Started(found[1], ())
        ids = available_ids(os.geteuid(), os.getegid(), _user_name(os.geteuid()))
        warnings = ids.warnings
        try:
            pid = _make(run_dir, ids)
        except MapRefused as refused:
            warnings = (*warnings, refused.warning)
            pid = _make(run_dir, ids.alone)
        return Started(_record(run_dir, pid), warnings)


def _make(run_dir: str, ids: Ids) -> int:
    """The pid of a new holder. Raises HostError, MapRefused."""
    pin = network_pin(run_dir)
    try:
        os.makedirs(os.path.dirname(pin), mode=0o700, exist_ok=True)
        Path(pin).touch(mode=0o600)
    except OSError as error:
        raise HostError(f'cannot make "{pin}": {describe_errno(error.errno or 0)}') from error
    try:
        with spawn("make", pin) as line:
            write_maps(line.await_step(abi.NS_HOLDER_UNSHARED), ids)
            line.go_on()
            return line.await_step(abi.NS_HOLDER_HOLDS)
    except HolderFailed as failed:
        raise explain(failed.step, failed.errno, userns_facts()) from failed


def revive(run_dir: str) -> bool:
    """Whether pods of this run directory live on in namespaces whose holder is not recorded: then this process is in
    them, as their root, and there is a holder again. Raises HostError."""
    shim = next(_living_shims(Path(run_dir) / "pods"), None)
    if shim is None:
        return False
    with _locked(run_dir):
        with shim:
            join(shim)
        pid = _orphan()
        if pid is None:
            try:
                with spawn("join", network_pin(run_dir)) as line:
                    pid = line.await_step(abi.NS_HOLDER_HOLDS)
            except HolderFailed as failed:
                raise explain(failed.step, failed.errno, userns_facts()) from failed
        _record(run_dir, pid).close()
    return True


def _record(run_dir: str, pid: int) -> Fd:
    """Writes down that this process is the holder; its pidfd. Raises HostError."""
    ticks = start_ticks(pid)
    holder = Holder(pid, ticks or 0, boot_id())
    pidfd = open_process(holder)
    if ticks is None or pidfd is None:
        raise HostError("cannot hold the user's namespaces: their holder ended")
    write_atomic(Path(record_path(run_dir)), format_record(holder).encode(), durable=False)
    return pidfd


@contextlib.contextmanager
def _locked(run_dir: str) -> Iterator[None]:
    """The run directory, made if need be, for one process at a time. Raises HostError."""
    try:
        _make_private(run_dir)
        fd = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f'cannot make "{run_dir}": {describe_errno(error.errno or 0)}',
            hint="export XDG_RUNTIME_DIR, a directory of yours with mode 0700, or name another with --run-dir",
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _make_private(path: str) -> None:
    """With all that is missing above it, such as a runtime directory of our own below /tmp."""
    if not os.path.isdir(path):
        _make_private(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)


def _living_shims(pods: Path) -> Iterator[Fd]:
    """Their pidfds, of those that are in another user namespace than this process."""
    own = os.stat("/proc/self/ns/user").st_ino
    for path in sorted(pods.glob("*/shim.sock")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line, contextlib.suppress(OSError):
            line.connect(str(path))
            answer = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pidfd = Fd(os.pidfd_open(_CREDENTIALS.unpack(answer)[0]))
            if os.stat(f"/proc/{_CREDENTIALS.unpack(answer)[0]}/ns/user").st_ino != own:
                yield pidfd


def _orphan() -> int | None:
    """A holder in this process's user namespace."""
    own = os.stat("/proc/self/ns/user").st_ino
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if (
                name.isdigit()
                and Path("/proc", name, "comm").read_text() == "nsrun-holder\n"
                and os.stat(f"/proc/{name}/ns/user").st_ino == own
            ):
                return int(name)
    return None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
