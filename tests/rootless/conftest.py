"""An ordinary user who exists only for a test: in a mount namespace of his own, with real newuidmap.

``account`` is that user, with 65536 subordinate ids. What a test takes from him or changes of the machine (files of
/etc, programs) is changed in that namespace alone: ``account.as_root``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

NAME, FIRST_UID, FIRST_SUBID = "nsrun-user", 62000, 0x30000000
ADD_USER = Path(__file__).with_name("add_user.sh")
PROGRAMS = ("newuidmap", "newgidmap", "setpriv", "nsenter", "unshare")

# A /run of the namespace's own, and the user in it.
PREPARE = """
set -eu
mount -t tmpfs -o mode=755 tmpfs /run
sh "$1" "$2" "$3" "$4" "$5"
echo ready
exec cat
"""


class Account:
    """The user ``name`` with ``uid``; his ``home`` and his ``runtime`` directory."""

    def __init__(self, uid: int, own: Path) -> None:
        self.name, self.uid = NAME, uid
        self.home, self.runtime = own / "home", Path(f"/run/user/{uid}")
        self.first_subid = FIRST_SUBID
        words = [str(ADD_USER), NAME, str(uid), str(FIRST_SUBID), str(own)]
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", PREPARE, "keeper", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "ready\n"

    @property
    def run_dir(self) -> Path:
        """Where nsrun's is, as the user's mount namespace has it."""
        return self.runtime / "nsrun"

    def seen(self, path: Path | str) -> Path:
        """A path of the user's mount namespace, for who is root outside of it."""
        return Path(f"/proc/{self._keeper.pid}/root{path}")

    @property
    def environment(self) -> dict[str, str]:
        own = self.home.parent
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "USER": self.name,
            "TMPDIR": str(own / "tmp"),
            "XDG_RUNTIME_DIR": str(self.runtime),
        }

    def command(self, *words: str, through: tuple[str, ...] = ()) -> list[str]:
        """What runs ``words`` as the user. ``through``: a program that runs that, as root in the mount namespace."""
        user = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups", "--inh-caps=-all"]
        return ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", f"--wdns={self.home}", *through, *user, *words]

    def run(
        self,
        *words: str,
        environment: Mapping[str, str | None] | None = None,
        through: tuple[str, ...] = (),
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as the user. ``environment``: what differs; None: is not set."""
        return subprocess.run(
            self.command(*words, through=through),
            env=self._environment(environment),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=60 * PATIENCE,
            check=False,
        )

    def start(self, *words: str, environment: Mapping[str, str | None] | None = None) -> subprocess.Popen[str]:
        """The same, which goes on; its output comes by one pipe."""
        return subprocess.Popen(
            self.command(*words),
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def as_root(self, script: str) -> None:
        """A shell script in the user's mount namespace."""
        words = ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", "sh", "-euc", script]
        subprocess.run(words, check=True, timeout=60 * PATIENCE)

    def processes(self) -> list[int]:
        """Everything of the user's that lives."""
        found = []
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdigit() and f"\nUid:\t{self.uid}\t" in (status := Path("/proc", name, "status").read_text()):
                    found += [int(name)] if "\nState:\tZ" not in status else []
        return found

    def close(self) -> None:
        """Ends all of it."""
        while processes := self.processes():
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._keeper.communicate(timeout=60 * PATIENCE)

    def _environment(self, changes: Mapping[str, str | None] | None) -> dict[str, str]:
        merged = {**self.environment, **(changes or {})}
        return {name: value for name, value in merged.items() if value is not None}


@pytest.fixture
def account() -> Iterator[Account]:
    """A user of this test's own."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    # Not in TMPDIR: that one may be root's alone.
    own = Path(tempfile.mkdtemp(prefix="nsrun-user-", dir="/tmp"))
    own.chmod(0o755)
    user = None
    try:
        user = Account(FIRST_UID + os.getpid() % 1000, own)
        yield user
    finally:
        if user is not None:
            user.close()
        shutil.rmtree(own)
