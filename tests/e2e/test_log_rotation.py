"""Logs that grow beyond a file: ``nsrun logs`` shows every line once and in order, whatever is rotated meanwhile and
whoever is dead."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.lives import phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

# Four files of 10 MiB and a part of a fifth, with the time stamps.
LINES = 300_000
WRITE = f"awk 'BEGIN {{ for (i = 0; i < {LINES}; i++) printf \"%08d %090d\\n\", i, 0 }}'"


def numbers(output: str) -> Iterator[int]:
    return (int(line.split()[0]) for line in output.splitlines())


def files(nsrun: Nsrun) -> list[str]:
    return sorted(path.name for path in nsrun.log_dir.glob("pods/default_writer_*/main/*"))


def test_every_line_once_and_in_order(loaded: Nsrun) -> None:
    """By followers from the start, by one who comes later, and from the end."""
    loaded.start()
    script = f"while [ ! -e /shared/go ]; do sleep 0.05; done; {WRITE}; echo 99999999 end"
    loaded.apply("writer.yaml", pod("writer", shell("main", script), restartPolicy="Never"))
    until(loaded, "writer", phase("Running"))
    followers = [
        subprocess.Popen(
            loaded.command("logs", "-f", "writer"), env=loaded.environ(), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "go").touch()
    for follower in followers:
        output, _ = follower.communicate(timeout=120 * PATIENCE)
        assert follower.returncode == 0
        assert list(numbers(output)) == [*range(LINES), 99999999]
    until(loaded, "writer", phase("Succeeded"))
    assert len(files(loaded)) == 5
    assert all(name.startswith("0.log") for name in files(loaded))
    assert list(numbers(loaded.cli("logs", "writer").stdout)) == [*range(LINES), 99999999]
    tail = list(numbers(loaded.cli("logs", "--tail", "150000", "writer").stdout))
    assert tail == [*range(LINES - 149_999, LINES), 99999999]


def test_the_shim_rotates_alone(loaded: Nsrun) -> None:
    """While nsrun is dead; the oldest files go, and what stays has no gap."""
    loaded.start()
    script = f"while [ ! -e /shared/go ]; do sleep 0.05; done; {WRITE}; {WRITE}; touch /shared/done; sleep 1000"
    loaded.apply("writer.yaml", pod("writer", shell("main", script)))
    before = until(loaded, "writer", phase("Running"))
    loaded.kill()
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "go").touch()
    eventually((shared / "done").exists, seconds=120)
    assert len(files(loaded)) == 5
    loaded.start()
    after = until(loaded, "writer", phase("Running"))
    assert status_of(after, "main")["containerID"] == status_of(before, "main")["containerID"]
    found = list(numbers(loaded.cli("logs", "writer").stdout))
    first = found[0]
    assert 0 < first < LINES
    assert found == [*range(first, LINES), *range(LINES)]


def test_how_much_is_kept_can_be_chosen(loaded: Nsrun) -> None:
    loaded.flags = ("--container-log-max-size", "64Ki", "--container-log-max-files", "3")
    loaded.start()
    loaded.apply("writer.yaml", pod("writer", shell("main", "seq 1 40000"), restartPolicy="Never"))
    until(loaded, "writer", phase("Succeeded"))
    assert len(files(loaded)) == 3
    sizes = [path.stat().st_size for path in loaded.log_dir.glob("pods/default_writer_*/main/*")]
    assert max(sizes) < 128 << 10
    found = list(numbers(loaded.cli("logs", "writer").stdout))
    assert found[0] > 1
    assert found == list(range(found[0], 40001))


def test_the_run_before(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("once.yaml", pod("once", shell("main", "echo only; sleep 1000")))
    script = "[ -e /shared/x ] && echo second && sleep 1000; touch /shared/x; echo first; exit 1"
    loaded.apply("twice.yaml", pod("twice", shell("main", script)))
    eventually(lambda: loaded.cli("logs", "twice", check=False).stdout == "second\n", what=loaded.said())
    assert loaded.cli("logs", "--previous", "twice").stdout == "first\n"
    assert loaded.cli("logs", "-f", "-p", "twice").stdout == "first\n", "it has ended: nothing is waited for"
    until(loaded, "once", phase("Running"))
    told = loaded.cli("logs", "-p", "once", check=False)
    assert told.returncode == 1
    assert told.stderr == 'nsrun: cannot read the previous log of container "main": it ran only once in pod "once"\n'
