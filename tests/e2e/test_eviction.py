"""Pods that write more to the disk than they may."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.lives import phase, pod, shell, until
from tests.e2e.nsrunner import Nsrun

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

EMPTY = {"emptyDir": {"sizeLimit": "1Mi"}}


def writer(name: str, target: str, megabytes: int, **more: Any) -> dict[str, Any]:
    return shell(name, f"dd if=/dev/zero of={target} bs=1M count={megabytes}; exec sleep 1000", **more)


def limited(size: str) -> dict[str, Any]:
    return {"limits": {"ephemeral-storage": size}}


def test_whoever_writes_too_much_is_evicted_and_nobody_else(loaded: Nsrun) -> None:
    loaded.start()
    small = {"name": "small", **EMPTY}
    volume = writer("main", "/small/file", 2)
    volume["volumeMounts"] = [{"name": "small", "mountPath": "/small"}]
    loaded.apply("volume.yaml", pod("volume", volume, volumes=[small]))
    loaded.apply("root.yaml", pod("root", writer("main", "/file", 3, resources=limited("2Mi"))))
    logs = shell("main", "dd if=/dev/zero bs=1M count=3 | tr '\\0' 'x' | fold; exec sleep 1000")
    loaded.apply("logs.yaml", pod("logs", {**logs, "resources": limited("2Mi")}))
    loaded.apply("modest.yaml", pod("modest", writer("main", "/file", 1, resources=limited("4Mi"))))
    for name, message in {
        "volume": 'Usage of EmptyDir volume "small" exceeds the limit "1Mi". ',
        "root": "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        "logs": "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
    }.items():
        seen = until(loaded, name, phase("Failed"), seconds=60)
        assert (seen["status"]["reason"], seen["status"]["message"]) == ("Evicted", message)
    until(loaded, "modest", phase("Running"))
    # It stays so, whoever looks after it.
    loaded.kill()
    loaded.start()
    seen = until(loaded, "volume", lambda seen: True)
    assert (seen["status"]["phase"], seen["status"]["reason"]) == ("Failed", "Evicted")


def test_one_container_among_several(loaded: Nsrun) -> None:
    loaded.start()
    big = writer("big", "/file", 1, resources=limited("20Mi"))
    small = writer("small", "/file", 3, resources=limited("2Mi"))
    loaded.apply("web.yaml", pod("web", big, small))
    seen = until(loaded, "web", phase("Failed"), seconds=60)
    assert seen["status"]["message"] == 'Container small exceeded its local ephemeral storage limit "2Mi". '
