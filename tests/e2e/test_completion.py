"""The tab key, in real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.lives import pod, shell
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

SHELLS = {
    "bash": (
        ("bash", "--norc", "--noprofile", "-i"),
        "bind 'set enable-bracketed-paste off'; source <(nsrun completion bash); echo rea''dy",
    ),
    "zsh": (
        ("zsh", "-f", "-i"),
        "unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D; source <(nsrun completion zsh); "
        "zstyle ':completion:*' menu no; echo rea''dy",
    ),
}


class Terminal:
    """A shell that somebody types into."""

    def __init__(self, argv: tuple[str, ...], environ: Mapping[str, str]) -> None:
        pid, self._fd = pty.fork()
        if pid == 0:
            os.execvpe(argv[0], argv, dict(environ))
        self.pid = pid
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def sees(self, pattern: str) -> str:
        """Until that stands there, behind what was seen before; what a terminal acts on is left out."""
        end = time.monotonic() + 30 * PATIENCE
        while (match := re.search(pattern, self._seen)) is None:
            assert time.monotonic() < end, f"{pattern!r} is not in {self._seen!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                self._seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x07", "", os.read(self._fd, 65536).decode())
        self._seen = self._seen[match.end() :]
        return match[0]

    def close(self) -> None:
        os.close(self._fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def environ(nsrun: Nsrun, home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**nsrun.environ(), "PATH": path, "HOME": str(home), "TERM": "xterm", "PS1": "$ "}


def running(nsrun: Nsrun) -> Nsrun:
    nsrun.start()
    nsrun.apply("web.yaml", pod("web", shell("nginx", "exec sleep 1000"), shell("truncator", "exec sleep 1000")))
    nsrun.apply("other.yaml", pod("other", shell("main", "exec sleep 1000")))
    nsrun.ready("web")
    nsrun.ready("other")
    return nsrun


@pytest.mark.parametrize("name", SHELLS)
def test_the_tab_key(loaded: Nsrun, tmp_path: Path, name: str) -> None:
    argv, setup = SHELLS[name]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{name} is not installed")
    running(loaded)
    terminal = Terminal(argv, environ(loaded, tmp_path))
    try:
        terminal.type(f"{setup}\n")
        terminal.sees("ready\r\n")
        for typed, becomes in (
            ("nsrun insp", "nsrun inspect "),
            ("nsrun logs w", "nsrun logs web "),
            ("nsrun logs default/o", "nsrun logs default/other "),
            ("nsrun logs web -c tr", "nsrun logs web -c truncator "),
            ("nsrun logs web --prev", "nsrun logs web --previous "),
            ("nsrun run --pull nev", "nsrun run --pull never "),
            ("nsrun run -n defa", "nsrun run -n default "),
            ("nsrun rmi busybox:la", "nsrun rmi busybox:latest "),
        ):
            terminal.type(f"{typed}\t")
            terminal.sees(re.escape(becomes))
            terminal.type("\x15")  # the line is gone
        loaded.kill()
        terminal.type("nsrun logs w\t; echo noth''ing\n")
        terminal.sees("nothing\r\n")
    finally:
        terminal.close()


def test_fish(loaded: Nsrun, tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    running(loaded)

    def completed(line: str) -> list[str]:
        script = f"nsrun completion fish | source; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script],
            env=environ(loaded, tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return [one.partition("\t")[0] for one in done.stdout.splitlines()]

    assert completed("nsrun insp") == ["inspect"]
    assert completed("nsrun logs w") == ["web"]
    assert completed("nsrun logs web -c ") == ["nginx", "truncator"]
    assert "busybox:latest" in completed("nsrun rmi busybox:")
    loaded.kill()
    assert completed("nsrun logs w") == []
