"""Settings in the kubelet's words."""

from __future__ import annotations

import json
from pathlib import Path

from nsrun.api.configz import configz_routes, kubelet_configuration
from nsrun.api.requests import Request
from nsrun.api.responses import Response
from nsrun.settings import SecurePort, Settings


async def test_configz() -> None:
    settings = Settings(
        manifests=Path("/etc/pods"),
        node_name="n",
        manifest_url="https://user:secret@example.org/pods",
        manifest_headers=(("Authorization", "secret"),),
        reserved={"cpu": 500, "memory": 1000},
        secure=SecurePort(client_ca=Path("/ca")),
    )
    (route,) = configz_routes(settings)
    answer = await route.handler(Request(method="GET", path="/configz"))
    assert isinstance(answer, Response)
    found = json.loads(answer.body)["kubeletconfig"]
    assert found["staticPodPath"] == "/etc/pods"
    assert (found["port"], found["readOnlyPort"], found["maxPods"]) == (10250, 10255, 110)
    assert (found["podPidsLimit"], found["systemReserved"]) == (-1, {"cpu": "500m", "memory": "1"})
    assert found["authentication"]["x509"] == {"clientCAFile": "/ca"}
    assert found["tlsCertFile"] == "/var/lib/nsrun/pki/nsrun.crt"
    assert found["crashLoopBackOff"] == {"maxContainerRestartPeriod": "5m0s"}
    assert b"secret" not in answer.body


def test_files_that_were_given() -> None:
    given = SecurePort(certificate=Path("/c"), key=Path("/k"))
    found = kubelet_configuration(Settings(manifests=None, node_name="n", secure=given, pids_limit=7))
    assert (found["tlsCertFile"], found["tlsPrivateKeyFile"], found["podPidsLimit"]) == ("/c", "/k", 7)
    assert found["staticPodPath"] == ""
