"""The API of a daemon with pods: asked over TLS, over HTTP and over its socket; and fuzzed from its description."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually, fewer

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

DONE = "echo one; echo two; echo three"
LIVE = "echo ready; exec sleep 1000"


class Api:
    """The secure port, with the token of the daemon's owner."""

    def __init__(self, nsrun: Nsrun) -> None:
        self.certificate = nsrun.root / "pki" / "nsrun.crt"
        self.token = (nsrun.run_dir / "api" / "token.csv").read_text().split(",")[0]
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def connection(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.certificate))
        return http.client.HTTPSConnection("127.0.0.1", 10250, context=context, timeout=30 * PATIENCE)

    def begin(self, method: str, target: str) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        connection = self.connection()
        connection.request(method, target, headers=self.headers)
        return connection, connection.getresponse()

    def ask(self, target: str, method: str = "GET") -> tuple[int, bytes]:
        connection, answer = self.begin(method, target)
        with contextlib.closing(connection):
            return answer.status, answer.read()


@pytest.fixture
def api(loaded: Nsrun) -> Api:
    """A daemon with a pod that runs and one that has ended."""
    loaded.start()
    loaded.apply("live.yaml", shell_pod("live", LIVE, restart="Always"))
    loaded.apply("done.yaml", shell_pod("done", DONE))
    loaded.ready("live")
    eventually(lambda: any(pod["status"]["phase"] == "Succeeded" for pod in loaded.pods()))  # type: ignore[index]
    return Api(loaded)


def over_socket(nsrun: Nsrun, target: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(nsrun.socket))
        client.sendall(f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return client.makefile("rb").read().partition(b"\r\n\r\n")[2]


def _what_a_kubelet_tells(loaded: Nsrun, api: Api) -> None:
    status, body = api.ask("/pods")
    pods = json.loads(body)
    assert (status, pods["kind"], len(pods["items"])) == (200, "PodList", 2)
    names = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods["items"]}
    assert json.loads(over_socket(loaded, "/pods")) == pods
    plain = http.client.HTTPConnection("127.0.0.1", 10255)
    plain.request("GET", "/pods")
    assert json.loads(plain.getresponse().read()) == pods
    running = json.loads(api.ask("/runningpods/")[1])["items"]
    assert [(pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]) for pod in running] == [("live", "main")]
    assert api.ask("/healthz?verbose") == (
        200,
        b"[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n",
    )
    assert json.loads(api.ask("/configz")[1])["kubeletconfig"]["staticPodPath"] == str(loaded.manifests)
    assert api.ask("/checkpoint/default/live/main", "POST")[0] == 404

    # --- logs
    logs = "/containerLogs/default/done/main"
    assert api.ask(logs) == (200, b"one\ntwo\nthree\n")
    assert api.ask(f"{logs}?tailLines=1") == (200, b"three\n")
    assert api.ask(f"{logs}?stream=Stdout&follow=true") == (200, b"one\ntwo\nthree\n"), "which ends with the container"
    assert api.ask(f"{logs}?stream=Stderr") == (200, b"")
    assert api.ask(f"{logs}?previous=true")[0] == 400
    assert api.ask("/containerLogs/default/other/main")[0] == 404
    listing = api.ask("/logs/pods/")[1].decode()
    assert f"default_done_{names['done']}/" in listing
    assert b" stdout F three\n" in api.ask(f"/logs/pods/default_done_{names['done']}/main/0.log")[1]

    # --- commands
    run = "/run/default/live/main"
    assert api.ask(f"{run}?cmd=echo+some+words", "POST") == (200, b"some words\n")
    assert api.ask(f"/run/default/live/{names['live']}/main?cmd=echo+x", "POST") == (200, b"x\n")
    status, said = api.ask(f"{run}?cmd=ls+/nowhere", "POST")
    assert status == 500
    assert said.startswith(b"command 'ls /nowhere' exited with 1: ls: /nowhere")
    assert api.ask("/run/default/live/other?cmd=id", "POST") == (500, b'container not found ("other")')
    assert api.ask("/run/default/live/wrong/main?cmd=id", "POST")[0] == 500
    assert api.ask("/run/default/done/main?cmd=id", "POST")[0] == 500
    assert api.ask(f"{run}?cmd=no-such-program", "POST")[0] == 500
    status, said = api.ask(f"{run}?cmd=head+-c+3000000+/dev/zero", "POST")
    assert (status, len(said)) == (200, 1 << 20)
    status, outcome = api.ask("/exec/default/live/main?command=sh&command=-c&command=echo+hi%3B+exit+3", "POST")
    assert (status, json.loads(outcome)) == (200, {"exitCode": 3, "output": "hi\n"})


def _open_files(nsrun: Nsrun) -> int:
    assert nsrun.process is not None
    return len(os.listdir(f"/proc/{nsrun.process.pid}/fd"))


def _when_a_client_goes_nothing_goes_on(loaded: Nsrun, api: Api) -> None:
    before = _open_files(loaded)
    followers = [api.begin("GET", "/containerLogs/default/live/main?follow=true") for _ in range(20)]
    for _, answer in followers:
        assert answer.readline() == b"ready\n"
    assert _open_files(loaded) > before + 20, "each has its connection and its log"
    commands = [api.connection() for _ in range(3)]
    for command in commands:
        command.request("POST", "/run/default/live/main?cmd=sleep+777", headers=api.headers)

    def sleepers() -> int:
        return sum(_is_sleeper(pid) for pid in os.listdir("/proc") if pid.isdecimal())

    eventually(lambda: sleepers() == 3)
    for connection, answer in followers:
        connection.close()
        answer.close()
    for command in commands:
        command.close()
    eventually(lambda: sleepers() == 0)
    eventually(lambda: _open_files(loaded) <= before)
    live = next(pod for pod in loaded.pods() if pod["metadata"]["name"] == "live")  # type: ignore[index]
    assert live["status"]["containerStatuses"][0]["restartCount"] == 0  # type: ignore[index]


def _is_sleeper(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00777\x00"
    except OSError:
        return False


def _a_daemon_that_ends_does_not_wait_for_streams(loaded: Nsrun, api: Api) -> None:
    connection, answer = api.begin("GET", "/containerLogs/default/live/main?follow=true")
    assert answer.readline() == b"ready\n"
    assert loaded.terminate() == 0
    with pytest.raises((http.client.IncompleteRead, OSError)):
        answer.read()
    connection.close()
    loaded.start()
    assert api.ask("/healthz") == (200, b"ok"), "the same certificate and the same token"


def test_the_api_of_a_daemon(loaded: Nsrun, api: Api) -> None:
    _what_a_kubelet_tells(loaded, api)
    _when_a_client_goes_nothing_goes_on(loaded, api)
    _a_daemon_that_ends_does_not_wait_for_streams(loaded, api)


FUZZED_SECONDS = 40.0


@pytest.mark.slow
def test_no_request_of_the_description_makes_it_stumble(loaded: Nsrun, api: Api, repo: Path) -> None:
    """Random requests that the description allows, and some that it does not. What a kubelet answers with 500 is
    described; what went wrong here is said to be internal."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    description = yaml.safe_load((repo / "docs" / "openapi.yaml").read_text())
    schema = schemathesis.openapi.from_dict(description)
    deadline = time.monotonic() + FUZZED_SECONDS * PATIENCE
    operations = [found.ok() for found in schema.get_all_operations()]
    asked, examples = 0, fewer(12)
    for operation in operations:
        if operation.path.startswith("/nsrun/"):
            continue  # only over the socket

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(), pod=st.sampled_from(["live", "done", None]))
        def fuzz(case: Any, pod: str | None) -> None:
            nonlocal asked
            if time.monotonic() > deadline:
                return
            if pod is not None and case.path_parameters and "pod" in case.path_parameters:
                case.path_parameters.update(namespace="default", pod=pod)
                if "container" in case.path_parameters:
                    case.path_parameters.update(container="main")
            if pod != "done" and case.query:
                case.query.pop("follow", None)  # it would be followed for ever
            answer = case.call(
                base_url="https://127.0.0.1:10250",
                headers=api.headers,
                verify=str(api.certificate),
                timeout=20 * PATIENCE,
            )
            asked += 1
            documented = case.operation.definition.raw["responses"]
            assert answer.status_code < 500 or str(answer.status_code) in documented, answer.text
            assert not answer.text.startswith("Internal Error"), answer.text

        fuzz()
    assert asked > 0.4 * examples * len(operations)
    assert "Traceback" not in loaded.said()
    assert "Internal error" not in loaded.said()
    assert api.ask("/healthz") == (200, b"ok")
