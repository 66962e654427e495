"""Security contexts, from the manifest to the process: what the pod says, what its containers say, and who wins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.lives import pod, shell
from tests.e2e.nsrunner import Nsrun
from tests.e2e.security import output_of, waiting_reason

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

STATUS = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | awk '{print $2}'"


def said(nsrun: Nsrun, name: str, script: str, of_container: dict[str, Any], of_pod: dict[str, Any]) -> list[str]:
    container = {"securityContext": of_container}
    return output_of(nsrun, name, script, container=container, securityContext=of_pod).split()


@pytest.fixture
def running(loaded: Nsrun) -> Nsrun:
    loaded.start()
    return loaded


def test_users_and_groups(running: Nsrun) -> None:
    ids = "id -u; id -g; id -G"
    of_pod = {"runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [7, 5], "fsGroup": 3000}
    assert said(running, "a", ids, {}, of_pod) == ["1000", "2000", "2000", "5", "7", "3000"]
    assert said(running, "b", ids, {"runAsUser": 1, "runAsGroup": 2}, of_pod) == ["1", "2", "2", "5", "7", "3000"]


def test_privileges(running: Nsrun) -> None:
    drop = {"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}, "allowPrivilegeEscalation": False}
    assert said(running, "drop", STATUS, drop, {}) == ["0000000000002000", "0000000000002000", "1", "2"]
    assert said(running, "default", STATUS, {}, {}) == ["00000000800405fb", "00000000800405fb", "0", "2"]
    *caps, nnp, seccomp = said(running, "privileged", STATUS, {"privileged": True}, {})
    assert caps[0] == caps[1]
    assert int(caps[0], 16) > 0x800405FB
    assert (nnp, seccomp) == ("0", "0")


def test_seccomp_profiles(running: Nsrun) -> None:
    directory = running.root / "seccomp"
    directory.mkdir()
    deny = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    (directory / "no-dirs.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [deny]}))
    profile = {"seccompProfile": {"type": "Localhost", "localhostProfile": "no-dirs.json"}}
    script = "mkdir /tmp/x 2>/dev/null && echo made || echo refused"
    assert said(running, "pod", script, {}, profile) == ["refused"]
    unconfined = {"seccompProfile": {"type": "Unconfined"}}
    assert said(running, "container", script, unconfined, profile) == ["made"]
    assert said(running, "mode", STATUS, unconfined, profile)[-1] == "0"
    missing = {"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}}
    reason, message = waiting_reason(running, "missing", pod("missing", shell("main", "true", securityContext=missing)))
    assert reason == "CreateContainerError"
    assert 'seccomp profile "none.json"' in message


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"runAsNonRoot": True}, "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, "container's runAsUser breaks non-root policy"),
    ],
)
def test_run_as_non_root(running: Nsrun, context: dict[str, Any], message: str) -> None:
    manifest = pod("root", shell("main", "true"), securityContext=context)
    reason, said = waiting_reason(running, "root", manifest)
    assert reason == "CreateContainerConfigError"
    assert message in said
    assert "container: main)" in said


def test_a_read_only_root(running: Nsrun) -> None:
    script = "touch /x 2>/dev/null && echo written || echo refused; touch /shared/x && echo shared"
    assert said(running, "ro", script, {"readOnlyRootFilesystem": True}, {}) == ["refused", "shared"]
