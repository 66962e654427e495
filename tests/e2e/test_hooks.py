"""Hooks of real containers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.lives import events, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

STAY = 'trap "echo stopped >> /shared/order; exit 0" TERM; while true; do sleep 0.05; done'


def run(script: str) -> dict[str, Any]:
    return {"exec": {"command": ["/bin/sh", "-c", script]}}


def hooked(name: str, script: str, **hooks: Any) -> dict[str, Any]:
    return shell(name, script, lifecycle=hooks)


def order(nsrun: Nsrun) -> list[str]:
    (shared,) = nsrun.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    return (shared / "order").read_text().split() if (shared / "order").exists() else []


def test_what_follows_a_start_is_waited_for(loaded: Nsrun) -> None:
    loaded.start()
    wait = "until test -e /shared/go; do sleep 0.05; done; echo hook >> /shared/order"
    first = hooked("first", "sleep 1000", postStart=run(wait))
    loaded.apply("web.yaml", pod("web", first, shell("second", "echo second >> /shared/order; sleep 1000")))
    eventually(lambda: len(loaded.processes("sleep")) == 1 or bool(loaded.processes("sh")))
    waits = until(loaded, "web", lambda seen: "Started container first" in loaded.said())
    assert status_of(waits, "first")["state"]["waiting"]["reason"] == "ContainerCreating"
    assert status_of(waits, "second")["state"]["waiting"]["reason"] == "ContainerCreating"
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "go").touch()
    loaded.ready("web")
    eventually(lambda: order(loaded) == ["hook", "second"])


def test_a_hook_that_was_cut_off_by_a_restart_of_nsrun_is_run_again_and_no_other_is(loaded: Nsrun) -> None:
    loaded.start()
    done = hooked("done", "sleep 1000", postStart=run("echo done >> /shared/order"))
    wait = "echo begins >> /shared/order; until test -e /shared/go; do sleep 0.05; done; echo ends >> /shared/order"
    loaded.apply("web.yaml", pod("web", done, hooked("main", "sleep 1000", postStart=run(wait))))
    eventually(lambda: list(loaded.root.glob("pods/*/volumes/*/shared/order")) and order(loaded) == ["done", "begins"])
    loaded.kill()
    loaded.start()
    eventually(lambda: order(loaded) == ["done", "begins", "begins"])
    (shared,) = loaded.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    (shared / "go").touch()
    ready = loaded.ready("web")
    assert status_of(ready, "main")["restartCount"] == 0
    ran = order(loaded)
    loaded.kill()
    loaded.start()
    loaded.ready("web")
    assert order(loaded) == ran, "what was done is not done again"


def test_one_that_fails_has_the_container_run_again(loaded: Nsrun) -> None:
    loaded.start()
    script = "test -e /shared/second || { touch /shared/second; exit 1; }"
    loaded.apply("web.yaml", pod("web", hooked("main", STAY, postStart=run(script))))
    ready = loaded.ready("web")
    assert status_of(ready, "main")["restartCount"] == 1
    assert len(events(loaded, "FailedPostStartHook")) == 1


def test_what_goes_before_an_end_is_done_before_the_signal(loaded: Nsrun) -> None:
    loaded.start()
    copy = {"name": "keep", "hostPath": {"path": str(loaded.base), "type": "Directory"}}
    script = 'trap "echo stopped >> /keep/order; exit 0" TERM; touch /keep/up; while true; do sleep 0.05; done'
    main = hooked("main", script, preStop=run("sleep 0.5; echo hook >> /keep/order"))
    main["volumeMounts"] = [{"name": "keep", "mountPath": "/keep"}]
    loaded.apply("web.yaml", pod("web", main, volumes=[copy]))
    loaded.ready("web")
    eventually((loaded.base / "up").exists)
    (loaded.manifests / "web.yaml").unlink()
    loaded.gone("web")
    assert (loaded.base / "order").read_text().split() == ["hook", "stopped"]
    assert events(loaded, "FailedPreStopHook") == []


def test_a_hook_that_takes_too_long_is_cut_off(loaded: Nsrun) -> None:
    loaded.start()
    main = hooked("main", "sleep 1000", preStop=run("sleep 100"))
    loaded.apply("web.yaml", pod("web", main, terminationGracePeriodSeconds=1))
    loaded.ready("web")
    (loaded.manifests / "web.yaml").unlink()
    loaded.gone("web", seconds=20)
    assert len(events(loaded, "FailedPreStopHook")) == 1


def test_a_hook_over_http_reaches_the_container(loaded: Nsrun) -> None:
    loaded.start()
    web = {
        "name": "web",
        "image": "nginx",
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 80}],
        "lifecycle": {"preStop": {"httpGet": {"port": "http", "path": "/goodbye"}}},
    }
    loaded.apply("web.yaml", pod("web", web))
    loaded.ready("web")
    (loaded.manifests / "web.yaml").unlink()
    loaded.gone("web")
    assert events(loaded, "FailedPreStopHook") == []
