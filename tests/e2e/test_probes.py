"""Probes of real containers: each kind once, and what follows from what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lives import events, phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun, pod_named
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

GRPC_SERVER = Path(__file__).resolve().parents[1] / "system" / "probes" / "grpc_server.py"
SERVE = "exec httpd -f -p 8080 -h /shared"


def probed(name: str, script: str, **probes: Any) -> dict[str, Any]:
    """A container with probes that ask every second, unless they say otherwise."""
    return shell(name, script, **{f"{kind}Probe": {"periodSeconds": 1, **probe} for kind, probe in probes.items()})


def command(*words: str) -> dict[str, Any]:
    return {"exec": {"command": list(words)}}


def shared(nsrun: Nsrun) -> Path:
    """The directory of the volume that every container has at /shared."""

    def found() -> Path | None:
        return next(nsrun.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared"), None)

    return eventually(found) or Path()


def is_ready(seen: dict[str, Any], name: str = "main") -> bool:
    return bool(status_of(seen, name)["ready"])


def test_a_liveness_probe_that_fails_has_the_container_run_again(loaded: Nsrun) -> None:
    loaded.start()
    # The first run gets ill after a while, the second stays healthy.
    script = "touch /tmp/healthy; test -e /shared/first || { touch /shared/first; sleep 2; rm /tmp/healthy; }"
    liveness = {**command("cat", "/tmp/healthy"), "failureThreshold": 2, "terminationGracePeriodSeconds": 1}
    loaded.apply("web.yaml", pod("web", probed("main", f"{script}; exec sleep 1000", liveness=liveness)))
    seen = until(loaded, "web", lambda seen: "terminated" in status_of(seen, "main")["lastState"])
    assert status_of(seen, "main")["restartCount"] == 1
    assert status_of(seen, "main")["lastState"]["terminated"]["exitCode"] == 137
    unhealthy = events(loaded, "Unhealthy")
    assert any("Liveness probe failed: cat: can't open '/tmp/healthy'" in line for line in unhealthy)
    assert any("Container main failed liveness probe, will be restarted" in line for line in events(loaded, "Killing"))


def test_a_readiness_probe_by_http_says_who_is_ready_and_kills_nobody(loaded: Nsrun) -> None:
    loaded.start()
    readiness = {"httpGet": {"port": "web", "path": "/ok?x=1"}, "failureThreshold": 1}
    main = probed("main", SERVE, readiness=readiness)
    main["ports"] = [{"name": "web", "containerPort": 8080}]
    loaded.apply("web.yaml", pod("web", main))
    ok = shared(loaded) / "ok"
    until(loaded, "web", lambda seen: "HTTP probe failed with statuscode: 404" in loaded.said())
    assert not is_ready(pod_named(loaded.pods(), "web") or {})
    ok.write_text("fine")
    loaded.ready("web")
    ok.unlink()
    seen = until(loaded, "web", lambda seen: not is_ready(seen))
    assert status_of(seen, "main")["restartCount"] == 0
    ok.write_text("again")
    loaded.ready("web")
    # Another nsrun goes on asking.
    loaded.kill()
    loaded.start()
    assert status_of(loaded.ready("web"), "main")["restartCount"] == 0
    ok.unlink()
    until(loaded, "web", lambda seen: not is_ready(seen))


def asked(directory: Path) -> int:
    """How often the probe below was asked; 0 as well when the directory is gone."""
    try:
        return len((directory / "asked").read_text().split())
    except FileNotFoundError:
        return 0


IS_UP = {**command("/bin/sh", "-c", "echo x >> /shared/asked; test -e /shared/up"), "failureThreshold": 1000}


def test_a_startup_probe_holds_the_others_back(loaded: Nsrun) -> None:
    loaded.start()
    liveness = {**command("false"), "failureThreshold": 1, "terminationGracePeriodSeconds": 1}
    loaded.apply("web.yaml", pod("web", probed("main", "exec sleep 1000", startup=IS_UP, liveness=liveness)))
    directory = shared(loaded)
    eventually(lambda: asked(directory) >= 8)  # the last of them a second after one another
    seen = until(loaded, "web", lambda seen: bool(events(loaded, "Unhealthy")))
    assert all("Startup probe failed" in line for line in events(loaded, "Unhealthy"))
    assert status_of(seen, "main")["restartCount"] == 0
    assert status_of(seen, "main")["started"] is False
    (directory / "up").touch()
    until(loaded, "web", lambda seen: status_of(seen, "main")["restartCount"] >= 1)
    assert any("Liveness probe failed" in line for line in events(loaded, "Unhealthy"))


def test_a_startup_probe_that_fails_kills(loaded: Nsrun) -> None:
    loaded.start()
    startup = {**command("false"), "failureThreshold": 2, "terminationGracePeriodSeconds": 1}
    loaded.apply("web.yaml", pod("web", probed("main", "exec sleep 1000", startup=startup), restartPolicy="Never"))
    until(loaded, "web", phase("Failed"))
    assert any("Container main failed startup probe" in line for line in events(loaded, "Killing"))


def test_a_command_that_takes_too_long_goes_with_its_children(loaded: Nsrun) -> None:
    loaded.start()
    script = "trap '' TERM; sleep 1000 & (sleep 1000 & sleep 1000) & sleep 1000"
    readiness = {**command("sh", "-c", script), "timeoutSeconds": 1, "periodSeconds": 3}
    loaded.apply("web.yaml", pod("web", probed("main", "exec tail -f /dev/null", readiness=readiness)))
    eventually(lambda: loaded.processes("sleep"))
    until(loaded, "web", lambda seen: bool(events(loaded, "Unhealthy")))
    assert "command timed out:" in events(loaded, "Unhealthy")[0]
    assert "timed out after 1s" in events(loaded, "Unhealthy")[0]
    eventually(lambda: not loaded.processes("sleep"))
    assert loaded.processes("tail")


def test_connections_and_a_real_web_server(loaded: Nsrun) -> None:
    loaded.start()
    late = "until test -e /shared/go; do sleep 0.05; done; exec httpd -f -p 9000"
    tcp = probed("tcp", late, readiness={"tcpSocket": {"port": 9000}})
    nginx = {
        "name": "nginx",
        "image": "nginx",
        "imagePullPolicy": "IfNotPresent",
        "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1},
        "livenessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
    }
    loaded.apply("web.yaml", pod("web", tcp, nginx))
    seen = until(loaded, "web", lambda seen: is_ready(seen, "nginx"))
    assert not is_ready(seen, "tcp")
    eventually(lambda: any("dial tcp" in line and "connection refused" in line for line in events(loaded, "Unhealthy")))
    (shared(loaded) / "go").touch()
    loaded.ready("web")


@contextmanager
def inside(name: str, *words: str) -> Iterator[None]:
    """A program of the host in the pod's network, while the block runs."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", f"default_{name}", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_grpc(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    readiness = {"grpc": {"port": 5000}, "failureThreshold": 1}
    loaded.apply("web.yaml", pod("web", probed("main", "exec sleep 1000", readiness=readiness)))
    until(loaded, "web", lambda seen: bool(events(loaded, "Unhealthy")))
    assert "connection refused" in events(loaded, "Unhealthy")[0]
    status = tmp_path / "status"
    status.write_text("NOT_SERVING")
    with inside("web", sys.executable, str(GRPC_SERVER), "5000", str(status)):
        until(loaded, "web", lambda seen: '(responded with "NOT_SERVING")' in loaded.said())
        status.write_text("SERVING")
        loaded.ready("web")
        status.write_text("hang")
        until(loaded, "web", lambda seen: not is_ready(seen))
        eventually(lambda: "health rpc did not complete within 1s" in loaded.said())


def test_https_with_any_certificate(loaded: Nsrun, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"]
    subprocess.run([*request, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    loaded.start()
    headers = [{"name": "X-Asked", "value": "1"}]
    readiness = {"httpGet": {"port": 8443, "scheme": "HTTPS", "httpHeaders": headers}}
    loaded.apply("web.yaml", pod("web", probed("main", "exec sleep 1000", readiness=readiness)))
    until(loaded, "web", lambda seen: bool(events(loaded, "Unhealthy")))
    serve = ("openssl", "s_server", "-accept", "8443", "-www", "-key", str(key), "-cert", str(certificate))
    with inside("web", *serve):
        loaded.ready("web")


def test_probes_end_with_their_pod(loaded: Nsrun) -> None:
    loaded.start()
    script = "trap '' TERM; while true; do sleep 0.05; done"
    liveness = {**command("false"), "failureThreshold": 1}
    main = probed("main", script, startup=IS_UP, liveness=liveness)
    manifest = loaded.apply("web.yaml", pod("web", main, terminationGracePeriodSeconds=4))
    directory = shared(loaded)
    eventually(lambda: asked(directory) >= 2)
    manifest.unlink()
    eventually(lambda: events(loaded, "Killing"))
    before, most = asked(directory), 0
    (directory / "up").touch()

    def gone() -> bool:
        nonlocal most
        most = max(most, asked(directory))
        return pod_named(loaded.pods(), "web") is None

    eventually(gone, seconds=40)
    assert most <= before + 1
    assert not any("Liveness" in line for line in events(loaded, "Unhealthy"))
