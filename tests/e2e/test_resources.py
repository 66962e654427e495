"""Requests and limits, from the manifest to the cgroups' own figures, and to a process that wants too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lives import pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun, cgroups, pod_named
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

MIB = 1 << 20


def figure(nsrun: Nsrun, below: str, *names: str) -> str:
    """The first of the files that is there, in the cgroup whose path ends so: v2's name or v1's."""
    for path in cgroups(nsrun.cgroup_root):
        for name in names:
            if path.endswith(below) and Path(path, name).exists():
                return Path(path, name).read_text().strip()
    raise AssertionError(f"none of {names} in {below}: {cgroups(nsrun.cgroup_root)}")


# Weights that stand for shares: of pods linear, of containers as the OCI runtimes have it.
OF_POD, OF_CONTAINER = {20: 512}, {35: 256}


def shares(nsrun: Nsrun, below: str, weights: dict[int, int]) -> int:
    """cpu.shares, whatever the kernel calls it here."""
    if any(Path(path, "cpu.weight").exists() for path in cgroups(nsrun.cgroup_root) if path.endswith(below)):
        return weights[int(figure(nsrun, below, "cpu.weight"))]
    return int(figure(nsrun, below, "cpu.shares"))


def resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


def uid(nsrun: Nsrun, name: str) -> str:
    found: dict[str, Any] = pod_named(nsrun.pods(), name) or {}
    return str(found["metadata"]["uid"])


def score(nsrun: Nsrun, found: dict[str, Any], container: str) -> int:
    """oom_score_adj, as the container's own process has it."""
    name = found["metadata"]["name"]
    return int(eventually(lambda: nsrun.cli("logs", name, "-c", container).stdout.split())[0])


SCORE = "cat /proc/self/oom_score_adj; exec sleep 1000"


def test_a_burstable_pod(loaded: Nsrun) -> None:
    loaded.start()
    a = resources({"cpu": "250m", "memory": "32Mi"}, {"memory": "64Mi"})
    b = resources({"cpu": "250m"}, {"cpu": "500m", "memory": "64Mi"})
    loaded.apply("p.json", pod("p", shell("a", SCORE, **a), shell("b", SCORE, **b)))
    found = loaded.ready("p")
    place = f"burstable/pod{uid(loaded, 'p')}"
    assert found["status"]["qosClass"] == "Burstable"  # type: ignore[index]
    assert shares(loaded, place, OF_POD) == 512
    assert shares(loaded, f"{place}/a-0", OF_CONTAINER) == 256
    assert int(figure(loaded, place, "memory.max", "memory.limit_in_bytes")) == 128 * MIB
    assert int(figure(loaded, f"{place}/a-0", "memory.max", "memory.limit_in_bytes")) == 64 * MIB
    assert figure(loaded, f"{place}/b-0", "cpu.max", "cpu.cfs_quota_us").split()[0] == "50000"
    assert figure(loaded, f"{place}/a-0", "cpu.max", "cpu.cfs_quota_us").split()[0] in ("max", "-1")
    assert 900 < score(loaded, found, "a") < 1000


def test_the_whole_pods_limits_are_the_containers(loaded: Nsrun) -> None:
    loaded.start()
    own = resources(limits={"memory": "16Mi"})
    whole = {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1", "memory": "64Mi"}}
    loaded.apply("p.json", pod("p", shell("a", SCORE, **own), shell("b", SCORE), resources=whole))
    loaded.ready("p")
    place = f"pod{uid(loaded, 'p')}"
    assert int(figure(loaded, place, "memory.max", "memory.limit_in_bytes")) == 64 * MIB
    assert int(figure(loaded, f"{place}/a-0", "memory.max", "memory.limit_in_bytes")) == 16 * MIB
    assert int(figure(loaded, f"{place}/b-0", "memory.max", "memory.limit_in_bytes")) == 64 * MIB
    assert figure(loaded, f"{place}/b-0", "cpu.max", "cpu.cfs_quota_us").split()[0] == "100000"


def test_init_containers_count(loaded: Nsrun) -> None:
    """The pod's limit is the larger of what runs together and what an init container needs."""
    loaded.start()
    init = shell("setup", "true", **resources(limits={"cpu": "100m", "memory": "96Mi"}))
    sidecar = shell("mesh", SCORE, restartPolicy="Always", **resources(limits={"cpu": "100m", "memory": "16Mi"}))
    main = shell("main", SCORE, **resources(limits={"cpu": "100m", "memory": "32Mi"}))
    loaded.apply("p.json", pod("p", main, init=(sidecar, init)))
    loaded.ready("p")
    place = f"pod{uid(loaded, 'p')}"
    assert int(figure(loaded, place, "memory.max", "memory.limit_in_bytes")) == 112 * MIB


def test_who_wants_too_much_is_killed(loaded: Nsrun) -> None:
    loaded.start()
    script = "a=x; while :; do a=$a$a; done"
    one = shell("main", script, **resources(limits={"memory": "32Mi"}))
    loaded.apply("p.json", pod("p", one, restartPolicy="Never"))
    found = until(loaded, "p", lambda seen: seen["status"]["phase"] == "Failed")
    terminated = status_of(found, "main")["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)
