"""The demo with both images pulled from Debian's docker-registry, which stands in for docker.io as its mirror."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.e2e.nsrunner import Nsrun
from tests.registry import Registry
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

CREDENTIAL = ("somebody", "a password")


@pytest.fixture
def mirror(registry: Registry, demo_images: Path, request: pytest.FixtureRequest) -> Registry:
    """A registry that holds nginx and busybox."""
    tls: bool = request.param
    registry.start(tls=tls, htpasswd=CREDENTIAL if tls else None)
    for name in ("nginx", "busybox"):
        registry.push(demo_images, f"docker.io/library/{name}:latest", f"library/{name}:latest")
    return registry


def registries_conf(directory: Path, mirror: Registry) -> Path:
    path = directory / "registries.conf"
    insecure = str(mirror.scheme == "http").lower()
    place = f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = {insecure}\n'
    path.write_text(f'[[registry]]\nlocation = "docker.io"\n{place}')
    return path


@pytest.mark.parametrize("mirror", [False, True], indirect=True, ids=["http", "tls-basic-auth"])
def test_the_demo_with_pulled_images(nsrun: Nsrun, mirror: Registry, repo: Path, tmp_path: Path) -> None:
    environment = {"NSRUN_REGISTRIES_CONF": str(registries_conf(tmp_path, mirror))}
    if mirror.credential is not None:
        environment["REGISTRY_AUTH_FILE"] = str(mirror.auth_file())
        environment["SSL_CERT_FILE"] = str(mirror.authority)
    nsrun.environment = environment
    nsrun.start()
    manifest = nsrun.apply("nginx.yaml", quick_to_stop((repo / "manifests" / "nginx.yaml").read_text()))
    pod = nsrun.ready("nginx", seconds=60)
    status = pod["status"]
    assert isinstance(status, dict)
    eventually(lambda: b"Welcome to nginx!" in page(f"http://{status['podIP']}/"), what="nginx answers")
    assert all("docker.io/library/" in container["imageID"] for container in status["containerStatuses"])
    assert "Pulled" in nsrun.said()
    manifest.unlink()
    nsrun.gone("nginx")
    eventually(lambda: nsrun.remains() == [], what="nothing is left")


def page(url: str) -> bytes:
    """Nothing while nobody listens: a container is ready before its program is."""
    try:
        with urlopen(url, timeout=5 * PATIENCE) as answer:
            return bytes(answer.read())
    except URLError:
        return b""


def quick_to_stop(demo: str) -> str:
    """The demo's shell ignores SIGTERM, as PID 1 does; not every test has thirty seconds for that."""
    return demo.replace("spec:\n", "spec:\n  terminationGracePeriodSeconds: 1\n", 1)


@pytest.mark.parametrize("mirror", [True], indirect=True, ids=["tls-basic-auth"])
def test_a_wrong_password_is_told_in_one_sentence(nsrun: Nsrun, mirror: Registry, tmp_path: Path) -> None:
    mirror.credential = ("somebody", "a wrong password")
    nsrun.environment = {
        "NSRUN_REGISTRIES_CONF": str(registries_conf(tmp_path, mirror)),
        "REGISTRY_AUTH_FILE": str(mirror.auth_file()),
        "SSL_CERT_FILE": str(mirror.authority),
    }
    done = nsrun.cli("pull", "nginx", check=False)
    assert done.returncode == 1
    assert "docker.io/library/nginx:latest" in done.stderr
    assert "401" in done.stderr
    assert "Traceback" not in done.stderr
    assert "a wrong password" not in done.stderr
