"""Unprivileged users of one test session's mount namespace, and what they run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.waiting import PATIENCE

__all__ = ["User", "new_user"]

HERE = Path(__file__).parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """``directory``: all that is the user's but ``runtime``."""

    name: str
    uid: int
    directory: Path

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def runtime(self) -> Path:
        return Path("/run/user") / str(self.uid)

    def environ(self, **more: str) -> dict[str, str]:
        """What a login gives. ``more``: beside it."""
        return {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": "/bin/sh",
            "TMPDIR": str(self.directory / "tmp"),
            "XDG_RUNTIME_DIR": str(self.runtime),
            **{name: value for name, value in os.environ.items() if name.startswith("NSRUN_TEST_")},
            **more,
        }

    def run(
        self, *argv: str, check: bool = True, seconds: float = 120, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command of the user's to its end. Fails with what it wrote."""
        done = subprocess.run(
            self._command(argv),
            env=self.environ(**more),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds * PATIENCE,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {' '.join(argv)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def start(self, *argv: str, output: IO[Any] | int = subprocess.PIPE, **more: str) -> subprocess.Popen[bytes]:
        """A command of the user's that runs on, in a session of its own as one of another terminal."""
        return subprocess.Popen(
            self._command(argv),
            env=self.environ(**more),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _command(self, argv: tuple[str, ...]) -> list[str]:
        ids = f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups", "--inh-caps=-all"
        return ["setpriv", *ids, "--", *argv]

    def own(self, path: Path) -> Path:
        """Gives him what root made for him."""
        os.chown(path, self.uid, self.uid)
        return path


@contextmanager
def new_user(name: str, uid: int, *, subids: int = 0) -> Iterator[User]:
    """A user with 65536 ids from ``subids`` on, or with none; in the end his directory goes. The mount namespace keeps
    his name: one that was made is not made again."""
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        subprocess.run(["sh", HERE / "add_user.sh", name, str(uid), str(subids), str(directory)], check=True)
        yield User(name=name, uid=uid, directory=directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
