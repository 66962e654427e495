"""The bench's own network, mount and PID namespaces, so that neither nsrun nor a peer touches the machine."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from bench.program import wait

__all__ = ["INSIDE", "enter", "hide_unified", "remove_cgroups"]

INSIDE = "NSRUN_BENCH_WORLD"


def enter() -> None:
    """Starts this program again in namespaces of its own, once; prepares /run and the loopback there.

    The cgroup v2 hierarchy of a hybrid host is unmounted in this mount namespace: some peers refuse hybrid hosts.
    """
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation"]
        reaper = ["private", "sh", "-c", '"$@"; exit $?', "reaper"]
        os.execvp("unshare", [*unshare, *reaper, sys.executable, "-m", "bench", *sys.argv[1:]])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def hide_unified() -> None:
    """For the peers only: afterwards a hybrid host looks like a v1 host in this mount namespace."""
    if Path("/sys/fs/cgroup/unified/cgroup.procs").exists():
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)


def remove_cgroups(*names: str) -> None:
    """Removes cgroups that the bench or a peer made, in every hierarchy."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup" not in line:
            continue
        for name in names:
            top = Path(line.split()[4]) / name
            if top.is_dir():
                below = sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts))
                for directory in (*below, top):
                    wait(partial(_removed, directory), 30)


def _removed(cgroup: Path) -> bool:
    """A monitor lives on for a moment when its container is removed."""
    try:
        cgroup.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
