"""Sidecars of real pods: init containers with ``restartPolicy: Always``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.lives import phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

STAY = 'trap "echo {0} stops >> /shared/order; exit 0" TERM; echo {0} >> /shared/order; while true; do sleep 0.05; done'


def sidecar(name: str, script: str = "", **more: Any) -> dict[str, Any]:
    return shell(name, script or STAY.format(name), restartPolicy="Always", **more)


def test_the_next_waits_for_its_startup_probe(loaded: Nsrun) -> None:
    loaded.start()
    probe = {"exec": {"command": ["test", "-e", "/shared/up"]}, "periodSeconds": 1, "failureThreshold": 100}
    main = shell("main", "sleep 1000")
    loaded.apply("web.yaml", pod("web", main, init=[sidecar("side", startupProbe=probe), shell("one", "exit 0")]))
    waits = until(loaded, "web", lambda seen: "running" in status_of(seen, "side")["state"])
    assert not status_of(waits, "side")["started"]
    assert "waiting" in status_of(waits, "one")["state"]
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "up").touch()
    ready = loaded.ready("web")
    assert status_of(ready, "side")["started"]
    assert status_of(ready, "side")["ready"]


def test_they_do_not_keep_a_job_alive_and_stop_in_reverse(loaded: Nsrun) -> None:
    loaded.start()
    job = shell("main", "until test $(wc -l < /shared/order) = 2; do sleep 0.05; done; echo main >> /shared/order")
    shared = loaded.base / "shared"  # an emptyDir goes with the pod's end
    shared.mkdir()
    volumes = [{"name": "shared", "hostPath": {"path": str(shared)}}]
    sidecars = [sidecar("one"), sidecar("two")]
    loaded.apply("job.yaml", pod("job", job, init=sidecars, restartPolicy="Never", volumes=volumes))
    done = until(loaded, "job", phase("Succeeded"))
    assert (shared / "order").read_text().split("\n") == ["one", "two", "main", "two stops", "one stops", ""]
    assert status_of(done, "one")["state"]["terminated"]["reason"] == "Completed"


def test_one_that_ends_is_run_again_whatever_the_pods_policy(loaded: Nsrun) -> None:
    loaded.start()
    script = "test -e /shared/second || { touch /shared/second; exit 0; }; sleep 1000"
    loaded.apply(
        "web.yaml", pod("web", shell("main", "sleep 1000"), init=[sidecar("side", script)], restartPolicy="Never")
    )
    until(loaded, "web", lambda seen: status_of(seen, "side")["restartCount"] == 1 and status_of(seen, "side")["ready"])


def test_a_pod_that_is_removed_stops_them_after_its_containers(loaded: Nsrun) -> None:
    loaded.start()
    main = shell("main", 'trap "sleep 1; echo main stops; exit 0" TERM; echo up; while true; do sleep 0.05; done')
    side = 'trap "echo side stops; exit 0" TERM; echo up; while true; do sleep 0.05; done'
    loaded.apply("web.yaml", pod("web", main, init=[sidecar("side", side)], terminationGracePeriodSeconds=20))
    loaded.ready("web")
    eventually(lambda: "up" in loaded.cli("logs", "web", "-c", "side", check=False).stdout)
    eventually(lambda: "up" in loaded.cli("logs", "web", "-c", "main", check=False).stdout)
    (loaded.manifests / "web.yaml").unlink()
    loaded.gone("web")
    said = loaded.said()
    assert said.index('Container "main" of pod') < said.index('Container "side" of pod')
