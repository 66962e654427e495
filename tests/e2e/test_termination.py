"""How real containers end: messages, signals, grace, and what probes have to do with it."""

from __future__ import annotations

import time

import pytest

from tests.e2e.lives import ended, events, phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

DEAF = 'trap "" TERM; touch /shared/up; while true; do sleep 0.05; done'


def test_what_a_container_leaves_as_its_message_is_shown(loaded: Nsrun) -> None:
    loaded.start()
    containers = [
        shell("file", "printf why > /dev/termination-log; exit 3"),
        shell("elsewhere", "printf there > /tmp/said; exit 0", terminationMessagePath="/tmp/said"),
        shell("log", "echo from the log; exit 1", terminationMessagePolicy="FallbackToLogsOnError"),
        shell("silent", "echo not this; exit 1"),
    ]
    loaded.apply("job.yaml", pod("job", *containers, restartPolicy="Never"))
    failed = until(loaded, "job", phase("Failed"))

    def message(name: str) -> str:
        return str(status_of(failed, name)["state"]["terminated"].get("message", ""))

    assert [message(c["name"]) for c in containers] == ["why", "there", "from the log\n", ""]


def test_a_liveness_probe_that_fails_has_the_container_run_again_within_its_own_grace(loaded: Nsrun) -> None:
    loaded.start()
    probe = {
        "exec": {"command": ["test", "-e", "/shared/well"]},
        "initialDelaySeconds": 1,
        "periodSeconds": 1,
        "failureThreshold": 1,
        "terminationGracePeriodSeconds": 1,
    }
    main = shell("main", f"test -e /shared/up && touch /shared/well; {DEAF}", livenessProbe=probe)
    loaded.apply("web.yaml", pod("web", main, terminationGracePeriodSeconds=300))
    again = until(loaded, "web", lambda seen: status_of(seen, "main")["restartCount"] == 1)
    assert status_of(again, "main")["lastState"]["terminated"]["exitCode"] == 137
    (killing,) = events(loaded, "Killing")
    assert "Container main failed liveness probe, will be restarted" in killing
    assert events(loaded, "Unhealthy")
    loaded.ready("web")


def test_readiness_comes_and_goes(loaded: Nsrun) -> None:
    loaded.start()
    probe = {"exec": {"command": ["test", "-e", "/shared/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    loaded.apply("web.yaml", pod("web", shell("main", "sleep 1000", readinessProbe=probe)))
    waits = until(loaded, "web", phase("Running"))
    assert (status_of(waits, "main")["ready"], status_of(waits, "main")["started"]) == (False, True)
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "ready").touch()
    loaded.ready("web")
    (shared / "ready").unlink()
    until(loaded, "web", lambda seen: not status_of(seen, "main")["ready"])


def test_grace_is_given_and_then_it_ends(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.yaml", pod("web", shell("main", DEAF), terminationGracePeriodSeconds=3))
    loaded.ready("web")
    eventually(lambda: list(loaded.root.glob("pods/*/volumes/*/shared/up")))
    (loaded.manifests / "web.yaml").unlink()
    leaving = until(loaded, "web", lambda seen: "deletionTimestamp" in seen["metadata"])
    began = time.monotonic()
    assert leaving["metadata"]["deletionGracePeriodSeconds"] == 3
    loaded.gone("web")
    assert 2.0 <= time.monotonic() - began <= 20 * PATIENCE


def test_creations_that_fail_are_no_restarts(loaded: Nsrun) -> None:
    loaded.start()
    source = {"configMapKeyRef": {"name": "later", "key": "key"}}
    main = shell("main", 'echo "$A"; sleep 1000', env=[{"name": "A", "valueFrom": source}])
    loaded.apply("web.yaml", pod("web", main))
    waits = until(
        loaded,
        "web",
        lambda seen: status_of(seen, "main")["state"].get("waiting", {}).get("reason") == "CreateContainerConfigError",
    )
    assert "later" in status_of(waits, "main")["state"]["waiting"]["message"]
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later}\ndata: {key: now}\n"
    loaded.apply("later.yaml", config)
    ready = loaded.ready("web")
    assert status_of(ready, "main")["restartCount"] == 0
    eventually(lambda: loaded.cli("logs", "web", check=False).stdout == "now\n")


def test_a_program_that_is_not_there_is_no_run_of_it(loaded: Nsrun) -> None:
    loaded.start()
    main = {**shell("main", ""), "command": ["/nonexistent"]}
    loaded.apply("job.yaml", pod("job", main, restartPolicy="Never"))
    failed = until(loaded, "job", ended("main", 128))
    assert status_of(failed, "main")["state"]["terminated"]["reason"] == "StartError"
    assert failed["status"]["phase"] == "Failed"
