"""What a pod that has ended gives back, while its manifest is still there."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from tests.e2e.lives import phase, pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

PORT = {"ports": [{"containerPort": 80, "hostPort": 18080}]}
VOLUMES = [{"name": "shared", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]
MOUNTS = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in VOLUMES]
GREETING = "echo served > /shared/index.html; exec httpd -f -h /shared -p 80"


def once(name: str, script: str, **more: Any) -> str:
    container = shell("main", script, volumeMounts=MOUNTS, **PORT)
    return pod(name, container, restartPolicy="Never", volumes=VOLUMES, **more)


def held(nsrun: Nsrun) -> list[str]:
    """What others could use: addresses, links, mounts, and what volumes hold."""
    volumes = (f"volume {path}" for path in nsrun.root.glob("pods/*/volumes/*/*"))
    return [one for one in nsrun.remains() if one.startswith(("lease", "link", "mount", "netns"))] + [*volumes]


def served() -> str:
    """What is answered on the host's port."""
    connection = http.client.HTTPConnection("127.0.0.1", 18080, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def test_a_pod_that_ended_gives_back_what_others_may_need(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply(
        "job.yaml", once("job", "echo done; dd if=/dev/zero of=/shared/file bs=1M count=1; echo 1 > /memory/file")
    )
    until(loaded, "job", phase("Succeeded"))
    eventually(lambda: held(loaded) == [], what="nothing is held")
    # The next one has the port.
    loaded.apply("web.yaml", once("web", GREETING))
    loaded.ready("web")
    assert eventually(lambda: "served" in served())
    assert loaded.cli("logs", "job").stdout.startswith("done\n"), "what it said stays"
    # It stays so, whoever looks after it.
    loaded.kill()
    loaded.start()
    assert status_of(until(loaded, "job", phase("Succeeded")), "main")["state"]["terminated"]["exitCode"] == 0
    loaded.ready("web")
    assert eventually(lambda: "served" in served())
    (loaded.manifests / "web.yaml").unlink()
    loaded.gone("web")
    assert held(loaded) == []
    (loaded.manifests / "job.yaml").unlink()
    loaded.gone("job")
    assert loaded.remains() == []


def test_a_pod_that_is_evicted_gives_back_the_disk(loaded: Nsrun) -> None:
    loaded.start()
    small = {"name": "shared", "emptyDir": {"sizeLimit": "1Mi"}}
    big = shell("main", "dd if=/dev/zero of=/shared/file bs=1M count=3; exec sleep 1000")
    loaded.apply("big.yaml", pod("big", big, volumes=[small]))
    until(loaded, "big", phase("Failed"), seconds=60)
    eventually(lambda: held(loaded) == [], what="nothing is held")
