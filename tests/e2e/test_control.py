"""Single containers stopped, started and restarted; waiting for pods; what happened: as a user does it."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from tests.e2e.lives import pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun, pod_named
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

POLITE = "trap 'exit 5' TERM; touch /shared/up; while true; do sleep 0.05; done"
DEAF = "trap '' TERM; touch /shared/deaf; while true; do sleep 0.05; done"


def seen(nsrun: Nsrun, name: str = "web") -> dict[str, Any]:
    found = pod_named(nsrun.pods(), name)
    assert found is not None
    return found


def is_stopped(nsrun: Nsrun, container: str) -> bool:
    return bool(status_of(seen(nsrun), container)["state"].get("waiting", {}).get("reason") == "Stopped")


def has_made(nsrun: Nsrun, name: str) -> None:
    """A container's program is as far as that."""
    eventually(lambda: list(nsrun.root.glob(f"pods/*/volumes/*/shared/{name}")))


def test_one_is_stopped_and_stays_so_until_it_is_started(loaded: Nsrun) -> None:
    loaded.start()
    hook = {"preStop": {"exec": {"command": ["touch", "/shared/hooked"]}}}
    main, deaf = shell("main", POLITE, lifecycle=hook), shell("deaf", DEAF)
    loaded.apply("web.yaml", pod("web", main, deaf, terminationGracePeriodSeconds=300))
    loaded.ready("web")
    has_made(loaded, "up")
    has_made(loaded, "deaf")
    other = status_of(seen(loaded), "deaf")["containerID"]

    stopped = loaded.cli("stop", "web", "main")
    assert (stopped.stdout, stopped.stderr) == ("main\n", "")
    has_made(loaded, "hooked")
    status = status_of(seen(loaded), "main")
    assert is_stopped(loaded, "main")
    assert (status["lastState"]["terminated"]["exitCode"], status["ready"]) == (5, False)
    assert loaded.cli("pods", "--no-headers").stdout.split()[2:4] == ["1/2", "Stopped"]

    loaded.kill()
    loaded.start()
    assert is_stopped(loaded, "main"), "it is known at once, and not after a moment"
    assert status_of(seen(loaded), "deaf")["containerID"] == other

    assert loaded.cli("start", "default/web").stdout == "default/web\n"
    status = status_of(seen(loaded), "main")
    assert ("running" in status["state"], status["restartCount"]) == (True, 1)
    loaded.ready("web")
    assert status_of(seen(loaded), "deaf")["containerID"] == other


def test_time_is_given_and_then_it_ends(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.yaml", pod("web", shell("deaf", DEAF), terminationGracePeriodSeconds=300, restartPolicy="Never"))
    loaded.ready("web")
    has_made(loaded, "deaf")
    began = time.monotonic()
    loaded.cli("restart", "web", "deaf", "--time", "2")
    assert time.monotonic() - began >= 2.0
    status = status_of(seen(loaded), "deaf")
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 137)
    began = time.monotonic()
    loaded.cli("stop", "web", "-t", "0")
    assert time.monotonic() - began < 30.0 * PATIENCE
    assert seen(loaded)["status"]["phase"] == "Running", "a pod of which something is stopped is not over"
    refused = loaded.cli("stop", "web", "none", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert 'cannot find container "none"' in refused.stderr


def test_a_backoff_is_not_waited_for(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.yaml", pod("web", shell("main", "test -e /shared/well && exec sleep 1000; exit 3")))
    until(
        loaded,
        "web",
        lambda pod: (
            status_of(pod, "main")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
            and status_of(pod, "main")["restartCount"] >= 1
        ),
    )
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "well").touch()
    loaded.cli("start", "web", "main")
    loaded.ready("web", seconds=8.0)


def test_what_happened_is_listed_and_followed(loaded: Nsrun) -> None:
    loaded.start()
    follower = subprocess.Popen(
        loaded.command("events", "-f", "-o", "json"), env=loaded.environ(), stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    try:
        loaded.apply("web.yaml", pod("web", shell("main", POLITE), init=[shell("one", "exit 0")]))
        loaded.ready("web")
        followed = [json.loads(follower.stdout.readline()) for _ in range(6)]
        loaded.cli("restart", "web")
        listed = json.loads(loaded.cli("events", "web", "-o", "json").stdout)["items"]
        names = {event["metadata"]["name"] for event in listed}
        assert {event["metadata"]["name"] for event in followed} <= names
        started = [event for event in listed if event["reason"] == "Started"]
        assert {(e["involvedObject"]["fieldPath"], e["count"]) for e in started} == {
            ("spec.initContainers{one}", 1),
            ("spec.containers{main}", 2),
        }
        rows = [line.split() for line in loaded.cli("events", "--for", "pod/web").stdout.splitlines()]
        assert rows[0] == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
        assert any("Killing" in row and "pod/web" in row for row in rows)
    finally:
        follower.terminate()
        follower.wait()
        follower.stdout.close()


def test_whoever_waits_is_told(loaded: Nsrun) -> None:
    loaded.start()
    probe = {"exec": {"command": ["test", "-e", "/shared/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    created = subprocess.Popen(
        loaded.command("wait", "web", "--for=create", "--timeout=60s"),
        env=loaded.environ(),
        stdout=subprocess.PIPE,
        text=True,
    )
    loaded.apply("web.yaml", pod("web", shell("main", DEAF, readinessProbe=probe)))
    assert created.communicate()[0] == "pod/web condition met\n"
    has_made(loaded, "deaf")
    late = loaded.cli("wait", "web", "--for=condition=Ready", "--timeout=0", check=False)
    assert (late.returncode, late.stdout) == (1, "")
    assert late.stderr == "nsrun: timed out waiting for the condition on pods/web\n"
    waits = [
        subprocess.Popen(
            loaded.command("wait", "--all", f"--for={wish}", "--timeout=60s"),
            env=loaded.environ(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for wish in ("condition=Ready", "jsonpath={.status.containerStatuses[0].ready}=true", "delete")
    ]
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "ready").touch()
    assert [one.communicate()[0] for one in waits[:2]] == ["pod/web condition met\n"] * 2
    (loaded.manifests / "web.yaml").unlink()
    assert waits[2].communicate()[0] == "pod/web condition met\n"
    assert loaded.cli("wait", "web", "--for=delete").stdout == ""
    assert loaded.cli("wait", "web", "--for=condition=Ready", check=False).returncode == 1
