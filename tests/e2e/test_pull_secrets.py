"""imagePullSecrets of whole pods, with Debian's docker-registry, which wants a password."""

from __future__ import annotations

import json
import urllib.parse
from base64 import b64encode
from pathlib import Path

import pytest

from tests.e2e.nsrunner import Nsrun, pod_named
from tests.registry import Registry
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

USER, PASSWORD = "somebody", "s3cret-of-the-team"
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  terminationGracePeriodSeconds: 1
  imagePullSecrets: [{{name: pull}}]
  containers:
  - name: main
    image: {image}
    imagePullPolicy: IfNotPresent
    command: [/bin/sleep, "1000"]
"""
SECRET = """\
---
apiVersion: v1
kind: Secret
metadata: {{name: pull, namespace: {namespace}}}
type: kubernetes.io/dockerconfigjson
data:
  .dockerconfigjson: {data}
"""


class Team:
    """A private image, and those who want to run it."""

    def __init__(self, nsrun: Nsrun, registry: Registry, demo_images: Path, base: Path) -> None:
        self.nsrun = nsrun
        self.host = registry.start(tls=True, htpasswd=(USER, PASSWORD))
        registry.push(demo_images, "docker.io/library/busybox:latest", "team/app:1")
        (base / "home").mkdir()
        nsrun.environment = {"SSL_CERT_FILE": str(registry.authority), "HOME": str(base / "home")}
        nsrun.start()

    def pod(self, name: str, namespace: str = "default") -> str:
        return POD.format(name=name, namespace=namespace, image=f"{self.host}/team/app:1")

    def secret(self, password: str = PASSWORD, namespace: str = "default") -> str:
        auth = b64encode(f"{USER}:{password}".encode()).decode()
        document = json.dumps({"auths": {f"https://{self.host}/v1/": {"auth": auth}}})
        return SECRET.format(namespace=namespace, data=b64encode(document.encode()).decode())

    def waits(self, name: str) -> bool:
        """Whether the pod cannot have its image."""
        found = pod_named(self.nsrun.pods(), name)
        return found is not None and any(word in json.dumps(found) for word in ("ErrImagePull", "ImagePullBackOff"))

    def everything_shown(self) -> str:
        """All that anybody can see of secrets' users."""
        cli = self.nsrun.cli
        shown = [cli("inspect", "web").stdout, cli("events").stdout, cli("pods", "-o", "json").stdout]
        shown += [path.read_text(errors="replace") for path in self.nsrun.run_dir.rglob("*.json")]
        return "".join((*shown, self.nsrun.said(), json.dumps(self.nsrun.pods())))


@pytest.fixture
def team(nsrun: Nsrun, registry: Registry, demo_images: Path, tmp_path: Path) -> Team:
    return Team(nsrun, registry, demo_images, tmp_path)


def test_a_private_image_is_pulled_with_the_pods_secret(team: Team) -> None:
    """It is nowhere to be seen, and nobody else's."""
    team.nsrun.apply("web.yaml", team.pod("web") + team.secret())
    team.nsrun.ready("web", seconds=60)
    shown = team.everything_shown()
    assert "Pulled" in shown
    auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for secret in (PASSWORD, auth, b64encode(auth.encode()).decode(), urllib.parse.quote(auth)):
        assert secret not in shown

    team.nsrun.apply("thief.yaml", team.pod("thief", "other"))
    eventually(lambda: team.waits("thief"), what="the pod of another namespace cannot have the image")
    told = team.nsrun.cli("events").stdout
    assert "FailedToRetrieveImagePullSecret" in told
    assert "Unable to retrieve some image pull secrets (pull); attempting to pull the image may not succeed." in told


def test_a_secret_that_is_put_right_serves_without_a_restart(team: Team) -> None:
    team.nsrun.apply("web.yaml", team.pod("web"))
    eventually(lambda: team.waits("web"), what="there is no secret yet")
    secret = team.nsrun.apply("secret.yaml", team.secret("wrong"))
    eventually(lambda: "401" in json.dumps(team.nsrun.pods()), what="the password is wrong")
    team.nsrun.apply(secret.name, team.secret())
    team.nsrun.ready("web", seconds=60)
