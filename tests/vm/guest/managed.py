"""The machine's user ``dev`` and his user manager, spoken to from the machine's own namespaces: ``--noconftest``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nsrun.host.cgroups import CgroupMode
from nsrun.host.facts import probe
from tests.waiting import PATIENCE

__all__ = ["HOME", "IMAGES", "MARKS", "NSRUN", "UID", "as_dev", "manager", "said"]

MARKS = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(120 * PATIENCE),  # nobody stretches it here
    pytest.mark.xdist_group("on_v2"),
    pytest.mark.skipif(os.uname().nodename != "nsrun-vm", reason="this is not the machine"),
    pytest.mark.skipif(Path("/proc/1/comm").read_text() != "systemd\n", reason="these are namespaces of the suite's"),
    pytest.mark.skipif(probe().cgroups.mode is not CgroupMode.V2, reason="this machine is not pure cgroup v2"),
]

UID, HOME, RUNTIME = 1000, Path("/home/dev"), Path("/run/user/1000")
IMAGES = Path(__file__).resolve().parents[3] / "build" / "images"
NSRUN = str(Path(sys.executable).parent / "nsrun")
# What pam_systemd, which the machine does not have, would say.
DROP_IN = "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/1000\n"


def as_dev(*words: str) -> list[str]:
    """What runs ``words`` as the user."""
    own = (f"HOME={HOME}", f"XDG_RUNTIME_DIR={RUNTIME}", "USER=dev")
    return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups", "env", *own, *words]


def said(*words: str) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=100 * PATIENCE, cwd=HOME, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def manager() -> None:
    """systemd's manager of the user's."""
    drop_in = Path("/etc/systemd/system/user@1000.service.d/runtime.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(DROP_IN)
    for words in (("daemon-reload",), ("start", "user-runtime-dir@1000.service"), ("start", "user@1000.service")):
        said("systemctl", *words)
