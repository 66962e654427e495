"""Init containers of real pods."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.lives import condition, phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

ONE = shell("one", "echo one >> /shared/order")
TWO = shell("two", "echo two >> /shared/order; test -e /shared/done || { touch /shared/done; exit 3; }")
MAIN = shell("main", "cat /shared/order; sleep 1000")


def test_they_run_in_order_and_again_when_they_fail(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.yaml", pod("web", MAIN, init=[ONE, TWO]))
    ready = loaded.ready("web")
    eventually(lambda: loaded.cli("logs", "web", check=False).stdout == "one\ntwo\ntwo\n")
    assert condition(ready, "Initialized")["status"] == "True"
    assert [c["name"] for c in ready["status"]["initContainerStatuses"]] == ["one", "two"]  # type: ignore[index]
    two = status_of(ready, "two")
    assert two["restartCount"] == 1
    assert two["ready"]
    assert two["state"]["terminated"]["reason"] == "Completed"
    assert two["lastState"]["terminated"]["exitCode"] == 3


def test_until_they_are_done_nothing_else_runs(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply(
        "web.yaml", pod("web", MAIN, init=[shell("wait", "until test -e /shared/go; do sleep 0.1; done"), ONE])
    )
    waits = until(loaded, "web", lambda seen: "running" in status_of(seen, "wait")["state"])
    assert waits["status"]["phase"] == "Pending"
    assert status_of(waits, "main")["state"]["waiting"]["reason"] == "PodInitializing"
    initialized = condition(waits, "Initialized")
    assert (initialized["reason"], initialized["message"]) == (
        "ContainersNotInitialized",
        "containers with incomplete status: [wait one]",
    )
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "go").touch()
    loaded.ready("web")


def test_one_that_fails_fails_a_pod_that_is_never_restarted(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.yaml", pod("web", MAIN, init=[shell("one", "exit 4"), TWO], restartPolicy="Never"))
    failed = until(loaded, "web", phase("Failed"))
    assert status_of(failed, "one")["state"]["terminated"]["exitCode"] == 4
    assert "waiting" in status_of(failed, "two")["state"]
    assert "waiting" in status_of(failed, "main")["state"]


def test_a_restart_of_nsrun_does_not_run_them_again_and_a_new_sandbox_does(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.yaml", pod("web", MAIN, init=[ONE]))
    before = loaded.ready("web")
    loaded.kill()
    loaded.start()
    after = loaded.ready("web")
    assert status_of(after, "one") == status_of(before, "one")
    assert status_of(after, "main") == status_of(before, "main")
    for pid, name in loaded.processes("nsrun-shim"):
        assert name == "nsrun-shim"
        os.kill(pid, signal.SIGKILL)
    again = until(loaded, "web", lambda seen: status_of(seen, "main")["restartCount"] == 1)
    assert status_of(again, "one")["restartCount"] == 1
    eventually(lambda: loaded.cli("logs", "web", check=False).stdout == "one\none\n")
