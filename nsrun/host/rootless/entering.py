"""The doorway: a process of somebody who is not root goes into the user's namespaces, and is root there.

What is done here is done before anything else, while there is one thread: setns(2) takes no others into a user or mount
namespace. The network namespace stays the host's: only pods are in the user's own.
"""

from __future__ import annotations

import os

from nsrun.errors import HostError, describe_errno
from nsrun.host.rootless.holding import find
from nsrun.host.rootless.places import NETNS_DIR, RUN_DIR, home_directory, places, runtime_directory

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from nsrun.support.fds import Fd

__all__ = ["enter", "join", "prepare"]


def prepare(environment: MutableMapping[str, str], *, run_dir: str = "") -> str:
    """Sets what is not set of where things are; the run directory, ``run_dir`` if that is given. Raises HostError."""
    uid = os.geteuid()
    if run_dir:
        environment[RUN_DIR] = os.path.abspath(run_dir)
        environment.setdefault(NETNS_DIR, f"{environment[RUN_DIR]}/netns")
    runtime = runtime_directory(environment, uid)
    environment.update(places(environment, home=home_directory(environment, uid), runtime=runtime))
    return os.path.abspath(environment[RUN_DIR])


def enter(run_dir: str, *, start: bool) -> tuple[HostError, ...] | None:
    """Goes in, and is root from then on. ``start``: makes the namespaces if they are not there; otherwise None, and
    this process stays who it is. Returns what there is to say about namespaces that were made. Raises HostError."""
    found = find(run_dir)
    warnings: tuple[HostError, ...] = ()
    if found is None:
        pods = os.path.isdir(f"{run_dir}/pods")
        if not (pods or start):
            return None
        from nsrun.host.rootless.starting import revive, start_holder

        if pods and revive(run_dir):
            return ()
        if not start:
            return None
        started = start_holder(run_dir)
        pidfd, warnings = started.pidfd, started.warnings
    else:
        pidfd = found[1]
    with pidfd:
        join(pidfd)
    return warnings


def join(pidfd: Fd) -> None:
    """Into the user and mount namespaces of this process, as their root, in the same directory as before if it is
    there. Raises HostError."""
    from nsrun.support import native

    try:
        directory = os.getcwd()
    except OSError:
        directory = "/"  # it was removed
    try:
        native.setns(pidfd.fileno(), native.CLONE_NEWUSER | native.CLONE_NEWNS)
        # A group that is not the user's own (newgrp) has no number inside.
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        raise HostError(f"cannot enter the user's namespaces: {describe_errno(error.errno or 0)}") from error
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
