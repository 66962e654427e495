"""Makes ``docs/captures``: what a terminal shows of ``ps``, ``top``, ``logs`` and ``pull``. Run it as root, after
``./dev setup``, when they look different: ``.venv/bin/python -m docs.capture``.

A real nsrun in namespaces of its own runs pods; each command has a terminal of its own. What differs from run to run
and matters to nobody (ids, ages) is replaced; figures are what they were.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.program import Program, running, wait
from tests.registry import Registry

__all__ = ["picture", "settled"]

REPO = Path(__file__).resolve().parent.parent
CAPTURES = REPO / "docs" / "captures"
NSRUN = str(Path(sys.executable).parent / "nsrun")
COLUMNS, ROWS = 124, 26
INSIDE = "NSRUN_CAPTURE_WORLD"

_POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
"""
_SHELL = """\
  - name: {name}
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c, '{script}']
    resources: {{limits: {{cpu: {cpu}, memory: 64Mi}}}}
"""
_NGINX = """\
  - {name: nginx, image: nginx, imagePullPolicy: IfNotPresent, ports: [{containerPort: 80}]}
"""
_ORDERS = "sleep 1; n=1; while :; do echo order $n: accepted; n=$((n+1)); sleep 0.5; done"
_STOCK = "sleep 1.2; n=100; while :; do n=$((n-1)); echo stock of tea: $n; sleep 0.5; done"
_WORK = "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.2; done"
_FAIL = "sleep 2; echo no database >&2; exit 1"


def manifests() -> Mapping[str, str]:
    """The pods, by name."""
    return {
        "web": _POD.format(name="web") + _NGINX,
        "shop": _POD.format(name="shop") + _shell("orders", _ORDERS) + _shell("stock", _STOCK),
        "batch": _POD.format(name="batch") + _shell("work", _WORK, "300m"),
        "sick": _POD.format(name="sick") + _shell("app", _FAIL),
    }


def _shell(name: str, script: str, cpu: str = "100m") -> str:
    return _SHELL.format(name=name, script=script, cpu=cpu)


def main() -> None:
    """Enters the world, runs the pods, makes the pictures."""
    _enter()
    CAPTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nsrun-capture-") as directory:
        base = Path(directory)
        registry = Registry(base / "registry")
        registry.start()
        registry.push(REPO / "build" / "images", "docker.io/library/nginx:latest", "library/nginx:latest")
        pull = [NSRUN, "--root", str(base / "empty"), "pull", "--registries-conf", str(registry.registries_conf())]
        _save("pull", "nsrun pull nginx", _shown([*pull, "nginx"], os.environ))
        registry.stop()
        with running(base / "nsrun", REPO / "build" / "images", NSRUN_HOSTNAME_OVERRIDE="node1") as program:
            _looks(program)


def _looks(program: Program) -> None:
    for name, text in manifests().items():
        program.apply(name, text)
    wait(lambda: {"web", "shop", "batch"} <= program.ready().keys(), 60)
    wait(lambda: b"CrashLoopBackOff" in _shown([NSRUN, "ps", "-a"], program.environment), 60, every=0.5)
    for name, words, seconds, key in (
        ("ps", ["ps", "-a"], 30.0, b""),
        ("logs", ["logs", "--all-containers", "--tail", "6", "shop"], 30.0, b""),
        ("top", ["top", "--containers", "--interval", "1"], 12.0, b"q"),
    ):
        shown = _shown([NSRUN, *words], program.environment, seconds=seconds, key=key)
        _save(name, f"nsrun {' '.join(words)}", shown)


def _shown(argv: Sequence[str], environment: Mapping[str, str], *, seconds: float = 60.0, key: bytes = b"") -> bytes:
    """What the command writes to its terminal until it ends; after ``seconds`` it gets the key."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    variables = {**environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=variables, start_new_session=True)
    os.close(slave)
    written, deadline, pressed = b"", time.monotonic() + seconds, False
    while True:
        if select.select([master], [], [], 0.1)[0]:
            try:
                written += os.read(master, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
        elif time.monotonic() > deadline and not pressed:
            os.write(master, key)
            pressed = True
    os.close(master)
    process.wait()
    return written


def picture(written: bytes) -> str:
    """The last picture of what was drawn over and over, or all that was written; colours stay, other sequences go."""
    text = written.decode(errors="replace")
    frames = text.split("\x1b[H")
    last = frames[-1].split("\x1b[J")[0] if len(frames) > 1 else _last_bars(text)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-HJKSThl]", "", last)
    return "\n".join(line.rpartition("\r")[2] for line in re.sub(r"\r+\n", "\n", plain).rstrip().split("\n"))


def _last_bars(text: str) -> str:
    """What bars looked like before they were taken away, and what came after them."""
    drawn = [piece for piece in re.split(r"(?:\r?\x1b\[(?:2K|1A))+", text) if piece.strip()]
    return "\n".join(piece.rstrip("\r\n") for piece in drawn[-2:])


def settled(text: str) -> str:
    """Ids follow from the line they are in, and ages are those of a day with nothing to do."""
    return "\n".join(_settled_line(line) for line in text.split("\n"))


def _settled_line(line: str) -> str:
    found = re.match(r"[0-9a-f]{12}(?=  )", line)
    if found is not None:
        line = sha256(re.sub(r"\d+", "", line[12:]).encode()).hexdigest()[:12] + line[12:]
    return re.sub(r"\b\d\d?s\b", lambda age: "12s".rjust(len(age[0])), line)


def _save(name: str, command: str, written: bytes) -> None:
    text = Text("$ ", style="bold green")
    text.append(command, style="bold")
    text.append("\n")
    text.append_text(Text.from_ansi(settled(picture(written))))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, no_wrap=True, crop=True)
    drawn = console.export_svg(title="", unique_id=name)
    # No fonts from elsewhere: the reader's own will do.
    drawn = re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    (CAPTURES / f"{name}.svg").write_text(drawn)


def _enter() -> None:
    """Starts this program again in namespaces of its own, once; prepares /run and the loopback there."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation"]
        reaper = ["private", "sh", "-c", '"$@"; exit $?', "reaper"]
        os.execvp("unshare", [*unshare, *reaper, sys.executable, "-m", "docs.capture"])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


if __name__ == "__main__":
    main()
