"""Restart policies and rules of single containers, in real pods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.lives import events, phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def rules(action: str, *codes: int) -> dict[str, Any]:
    rule = {"action": action, "exitCodes": {"operator": "In", "values": list(codes)}}
    return {"restartPolicy": "Never", "restartPolicyRules": [rule]}


def test_a_rule_goes_before_the_policy(loaded: Nsrun) -> None:
    loaded.start()
    script = "test -e /shared/second && exit 1; touch /shared/second; exit 42"
    loaded.apply("job.yaml", pod("job", shell("main", script, **rules("Restart", 42))))
    failed = until(loaded, "job", phase("Failed"))
    main = status_of(failed, "main")
    assert (main["restartCount"], main["state"]["terminated"]["exitCode"]) == (1, 1)
    assert main["lastState"]["terminated"]["exitCode"] == 42


def test_a_container_may_have_a_policy_of_its_own(loaded: Nsrun) -> None:
    loaded.start()
    once = shell("once", "exit 3", restartPolicy="Never")
    loaded.apply("web.yaml", pod("web", once, shell("main", "sleep 1000")))
    seen = until(loaded, "web", phase("Running"))
    until(loaded, "web", lambda seen: "terminated" in status_of(seen, "once")["state"])
    assert status_of(seen, "once")["restartCount"] == 0


def test_all_containers_begin_again_init_containers_first(loaded: Nsrun) -> None:
    loaded.start()
    script = "cat /shared/order; test -e /shared/second && sleep 1000; touch /shared/second; exit 42"
    other = shell("other", 'trap "" TERM; sleep 1000', lifecycle={"preStop": {"sleep": {"seconds": 100}}})
    main = shell("main", script, **rules("RestartAllContainers", 42))
    web = pod("web", main, other, init=[shell("one", "echo one >> /shared/order")], terminationGracePeriodSeconds=300)
    loaded.apply("web.yaml", web)
    again = until(loaded, "web", lambda seen: all(status_of(seen, c)["restartCount"] == 1 for c in ("one", "main")))
    assert status_of(again, "other")["lastState"]["terminated"]["reason"] == "RestartingAllContainers"
    assert events(loaded, "RestartingAllContainers")
    loaded.ready("web")
    eventually(lambda: loaded.cli("logs", "web", "-c", "main", check=False).stdout == "one\none\n")
    loaded.cli("down", "--time", "0")
