"""Manifests by URL, in real pods: a server that fails, or is not there, never stops one."""

from __future__ import annotations

import pytest

from tests.e2e.lives import pod, shell
from tests.e2e.nsrunner import Document, Nsrun, container_status, pod_named
from tests.waiting import eventually
from tests.webserver import answer, web_server_beside

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def names(nsrun: Nsrun) -> list[str]:
    return sorted(str(document["metadata"]["name"]) for document in nsrun.pods())  # type: ignore[index]


def container_id(document: Document) -> object:
    return container_status(document, "main")["containerID"]


def problems(nsrun: Nsrun) -> str:
    return nsrun.cli("pods").stderr


def test_a_server_that_comes_and_goes(loaded: Nsrun) -> None:
    sleeper = shell("main", "exec sleep 1000")
    with web_server_beside() as web:
        web.says(pod("far", sleeper))
        loaded.flags = (
            *("--verbose", "--http-check-frequency", "0.1s", "--manifest-url", f"{web.url()}?token=hidden"),
            *("--manifest-url-header", "X-Token:hidden"),
        )
        loaded.apply("near.yaml", pod("near", sleeper))
        loaded.start()
        far, _ = loaded.ready("far"), loaded.ready("near")
        assert web.asked[0].headers["x-token"] == "hidden"
        assert problems(loaded) == ""
        # What the directory describes comes first.
        loaded.apply("far.yaml", pod("other", sleeper))
        loaded.ready("other")
        web.says(f"{pod('far', sleeper)}\n---\n{pod('near', sleeper)}")
        clash = f'{web.url()}: metadata.name: pod "default/near" is already defined in {loaded.manifests}/near.yaml'
        eventually(lambda: clash in problems(loaded), what=clash)
        web.handler = lambda _: answer(b"", status="500 Oh")
        eventually(lambda: f"{web.url()}: cannot fetch: the server answered 500" in problems(loaded))
        port = web.port
    loaded.kill()
    loaded.start()
    eventually(lambda: "cannot fetch: connection refused" in problems(loaded))
    assert names(loaded) == ["far", "near", "other"]
    assert container_id(loaded.ready("far")) == container_id(far)
    # The directory goes on without it.
    (loaded.manifests / "far.yaml").unlink()
    loaded.gone("other")
    loaded.apply("new.yaml", pod("new", sleeper))
    loaded.ready("new")
    assert container_id(loaded.ready("far")) == container_id(far)
    with web_server_beside(port=port) as web:
        web.says(pod("later", sleeper))
        loaded.ready("later")
        loaded.gone("far")
        assert problems(loaded) == ""
    assert pod_named(loaded.pods(), "later") is not None
    assert "hidden" not in loaded.said()
