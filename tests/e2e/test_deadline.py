"""``activeDeadlineSeconds`` of real pods."""

from __future__ import annotations

import pytest

from tests.e2e.lives import condition, phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def test_a_pod_that_is_active_for_too_long_fails_and_stays_so(loaded: Nsrun) -> None:
    loaded.start()
    main = shell("main", 'trap "exit 7" TERM; while true; do sleep 0.05; done')
    side = shell("side", "sleep 1000", restartPolicy="Always")
    loaded.apply("web.yaml", pod("web", main, init=[side], activeDeadlineSeconds=4, terminationGracePeriodSeconds=1))
    loaded.ready("web")
    failed = until(loaded, "web", phase("Failed"))
    assert failed["status"]["reason"] == "DeadlineExceeded"
    assert failed["status"]["message"] == "Pod was active on the node longer than the specified deadline"
    assert condition(failed, "Ready")["reason"] == "PodFailed"
    gone = until(loaded, "web", lambda seen: not loaded.processes("sh", "sleep"))
    assert status_of(gone, "main")["state"]["terminated"]["exitCode"] == 7
    loaded.kill()
    loaded.start()
    again = until(loaded, "web", phase("Failed"))
    assert again["status"]["reason"] == "DeadlineExceeded"
    assert again["status"]["startTime"] == failed["status"]["startTime"]
    assert status_of(again, "main")["restartCount"] == 0
    assert not loaded.processes("sh", "sleep")


def test_it_runs_on_while_nsrun_does_not(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.yaml", pod("web", shell("main", "sleep 1000"), activeDeadlineSeconds=6))
    before = loaded.ready("web")
    loaded.kill()
    loaded.start()
    failed = until(loaded, "web", phase("Failed"))
    assert failed["status"]["startTime"] == before["status"]["startTime"]  # type: ignore[index]
