"""Sysctls of pods: safe ones are set, unsafe ones only when they are allowed, the machine's never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lives import pod, shell, until
from tests.e2e.nsrunner import Nsrun
from tests.e2e.security import output_of

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def context(**values: str) -> dict[str, object]:
    return {"sysctls": [{"name": name.replace("__", "."), "value": value} for name, value in values.items()]}


def test_safe_ones_are_set_in_the_pod_alone(loaded: Nsrun) -> None:
    files = ["/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/kernel/shm_rmid_forced"]
    before = [Path(file).read_text() for file in files]
    loaded.start()
    asked = context(net__ipv4__ip_local_port_range="40000 50000", kernel__shm_rmid_forced="1")
    assert output_of(loaded, "safe", f"cat {' '.join(files)}", securityContext=asked).split() == ["40000", "50000", "1"]
    assert [Path(file).read_text() for file in files] == before


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("kernel.msgmax", {}),
        ("kernel.core_pattern", {}),
        ("net.ipv4.ip_local_port_range", {"hostNetwork": True}),
        ("kernel.shm_rmid_forced", {"hostIPC": True}),
    ],
)
def test_what_is_forbidden_is_not_run(loaded: Nsrun, name: str, spec: dict[str, Any]) -> None:
    before = Path("/proc/sys", *name.split(".")).read_text()
    loaded.start()
    security = {"sysctls": [{"name": name, "value": "40000 50000"}]}
    loaded.apply("no.json", pod("no", shell("main", "true"), securityContext=security, **spec))
    found = until(loaded, "no", lambda seen: seen["status"]["phase"] == "Failed")
    assert found["status"]["reason"] == "SysctlForbidden"
    assert name in found["status"]["message"]
    assert Path("/proc/sys", *name.split(".")).read_text() == before


def test_unsafe_ones_that_are_allowed(loaded: Nsrun) -> None:
    loaded.flags += ("--allowed-unsafe-sysctls", "kernel.msg*,net.core.somaxconn")
    loaded.start()
    asked = context(kernel__msgmax="12345", net__core__somaxconn="77")
    script = "cat /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn"
    assert output_of(loaded, "unsafe", script, securityContext=asked).split() == ["12345", "77"]
