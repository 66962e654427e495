"""What a container says about its end reaches the status, also when nsrun was dead meanwhile."""

from __future__ import annotations

import pytest

from tests.e2e.lives import phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

WAIT = "while [ ! -e /shared/go ]; do sleep 0.05; done"


def test_said_while_nsrun_was_dead(loaded: Nsrun) -> None:
    """The policy is known again, and the file is where it was."""
    loaded.start()
    containers = [
        shell("file", f"{WAIT}; echo in the file > /dev/termination-log; exit 3"),
        shell("log", f"{WAIT}; echo in the log; exit 4", terminationMessagePolicy="FallbackToLogsOnError"),
        shell("none", f"{WAIT}; echo in the log; exit 5"),
    ]
    loaded.apply("job.yaml", pod("job", *containers, restartPolicy="Never"))
    until(loaded, "job", lambda seen: all(status_of(seen, c["name"])["state"].get("running") for c in containers))
    loaded.kill()
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "go").touch()
    (exits,) = loaded.run_dir.glob("pods/*/exits")
    eventually(lambda: {"file.0", "log.0", "none.0"} <= {path.name for path in exits.iterdir()})
    loaded.start()
    failed = until(loaded, "job", phase("Failed"))
    terminated = [status_of(failed, c["name"])["state"]["terminated"] for c in containers]
    assert [one["exitCode"] for one in terminated] == [3, 4, 5]
    assert [one.get("message", "") for one in terminated] == ["in the file\n", "in the log\n", ""]
    assert {one["reason"] for one in terminated} == {"Error"}


def test_each_run_has_a_file_of_its_own(loaded: Nsrun) -> None:
    loaded.start()
    once = "touch /shared/again; echo first > /dev/termination-log"
    script = f"cat /dev/termination-log; if [ -e /shared/again ]; then sleep 1000; fi; {once}"
    loaded.apply("web.yaml", pod("web", shell("main", script)))
    again = until(loaded, "web", lambda seen: "terminated" in status_of(seen, "main")["lastState"])
    assert status_of(again, "main")["lastState"]["terminated"]["message"] == "first\n"
    assert loaded.cli("logs", "web").stdout == ""
