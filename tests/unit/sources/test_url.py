"""A web address as a source: what is sound counts, and nothing else stops anything."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nsrun.model.uid import CONFIG_HASH, CONFIG_SOURCE
from nsrun.model.update import MANIFEST_ANNOTATION
from nsrun.model.wording import shown_url
from nsrun.sources.url import UrlSource
from nsrun.support.clock import SystemClock
from tests.unit.sources.following import Follower, follow, manifest
from tests.waiting import eventually_async
from tests.webserver import Asked, WebServer, answer, web_server

BOTH = f"{manifest('a')}---\n{manifest('b')}"


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        yield server


@asynccontextmanager
async def following(web: WebServer, path: str = "/pods.yaml") -> AsyncIterator[Follower]:
    async with follow(UrlSource(web.url(path), node_name="node", check_seconds=0.01, clock=SystemClock())) as follower:
        yield follower


async def asked_again(web: WebServer, times: int = 3) -> None:
    """Returns when the source has acted on all that the server said until now."""
    so_far = len(web.asked)
    await eventually_async(lambda: len(web.asked) >= so_far + times)


async def test_pods_are_named_after_their_url_as_a_kubelet_does_it(web: WebServer) -> None:
    web.says(BOTH)
    async with following(web, "/pods.yaml?token=secret") as source:
        first = (await source.until_pods("a", "b")).pods[0]
        assert not source.last.partial
    annotations = first.metadata.annotations
    assert annotations[CONFIG_SOURCE] == "http"
    assert annotations[CONFIG_HASH] == first.uid
    assert annotations[MANIFEST_ANNOTATION] == web.url()
    async with following(web, "/other.yaml") as source:
        assert (await source.until_pods("a", "b")).pods[0].uid != first.uid
    assert web.asked[0].path == "/pods.yaml?token=secret"


@pytest.mark.parametrize("kind", ["PodList", "List"])
async def test_lists_and_json(web: WebServer, kind: str) -> None:
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        for name in ("a", "b")
    ]
    web.says(json.dumps({"apiVersion": "v1", "kind": kind, "items": pods}))
    async with following(web) as source:
        await source.until_pods("a", "b")
        web.says(json.dumps({"apiVersion": "v1", "kind": kind, "items": pods[1:]}))
        await source.until_pods("b")
        web.says(json.dumps({"apiVersion": "v1", "kind": kind, "items": []}))
        await source.until_pods()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            answer(b"x", status="404 Not Found"),
            "{url}: cannot fetch: the server answered 404 Not Found",
        ),
        (answer(b""), "{url}: is empty"),
        (answer(b"# nothing\n"), "{url}: is empty"),
        (answer(b"null"), "{url}: is empty"),
        (answer(b"{}"), "{url}:1:1: "),
        (answer(b"<html>\n<body>Log in</body></html>"), "{url}:1:1: must be a mapping, not a text"),
        (answer(b'{"kind": "Status", "apiVersion": "v1", "code": 500'), "{url}:1:"),
        (answer(BOTH.replace("image: busybox", "image: [").encode()), "{url}:"),
        (answer(BOTH.encode(), Content_Length="9999"), "{url}: cannot fetch: the answer ends too early"),
        (b"", "{url}: cannot fetch: the server broke the connection"),
    ],
)
async def test_nothing_that_a_server_says_by_mistake_stops_a_pod(web: WebServer, said: bytes, problem: str) -> None:
    web.says(BOTH)
    async with following(web) as source:
        await source.until_pods("a", "b")
        web.handler = lambda _: said
        update = await source.until(lambda update: update.problems)
        assert source.pods == ["a", "b"]
        assert update.problems[0].startswith(problem.format(url=web.url()))
        assert update.broken == {web.url()}
        assert len(update.retained) == 2
        told = len(source.updates)
        await asked_again(web)
        assert len(source.updates) == told, "it is told once"
        web.says(manifest("b"))
        assert (await source.until_pods("b")).problems == ()


async def test_a_fault_is_told_with_its_line_and_what_is_sound_counts(web: WebServer) -> None:
    web.says(BOTH)
    async with following(web) as source:
        await source.until_pods("a", "b")
        web.says(f"{manifest('c')}---\n{manifest('a').replace('image: ', 'imgae: ')}")
        update = await source.until(lambda update: update.problems)
        assert sorted(source.pods) == ["a", "b", "c"]
        assert f"{web.url()}:16:7: spec.containers[0].image: is required" in "".join(update.problems)
        # A server that fails now is told too, and the rest is not told anew when it is back.
        document_problems = update.problems
        web.handler = lambda _: answer(b"", status="500 Oh")
        update = await source.until(lambda update: len(update.problems) > len(document_problems))
        assert set(document_problems) < set(update.problems)


async def test_a_server_that_was_never_sound_leaves_all_as_it_is(web: WebServer) -> None:
    web.handler = lambda _: answer(b"", status="500 Oh")
    async with following(web) as source:
        assert source.last.partial
        assert source.last.pods == ()
        assert source.last.broken == {web.url()}
        web.says("kind: Pod")
        assert (await source.until(lambda update: "cannot fetch" not in update.problems[0])).partial
        web.says(manifest("a"))
        assert not (await source.until_pods("a")).partial


async def test_what_has_not_changed_is_not_read_again(web: WebServer) -> None:
    served = [answer(manifest("a").encode(), ETag='"1"')]

    def handler(asked: Asked) -> bytes:
        return answer(b"", status="304 Not Modified") if asked.headers.get("if-none-match") else served[0]

    web.handler = handler
    async with following(web) as source:
        await source.until_pods("a")
        await asked_again(web)
        assert len(source.updates) == 1
        web.handler = lambda _: answer(b"", status="500 Oh")
        await source.until(lambda update: update.problems)
        web.handler = handler
        update = await source.until(lambda update: not update.problems)
        assert source.pods == ["a"]
        assert not update.broken


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@example.com:1/a/b.yaml?token=secret#secret", "https://example.com:1/a/b.yaml"),
        ("http://example.com", "http://example.com/"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown
