"""Connections from inside pods: whose loopback it is, which family, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from nsrun.errors import NetworkError
from nsrun.network.dial import dial_loopback
from tests.system.network.world import NETNS, World, make_pod

pytestmark = [pytest.mark.root, pytest.mark.network]


async def test_the_peer_is_the_pods_own_loopback(world: World) -> None:
    pod = make_pod("web")
    await world.attach(pod)
    with (
        world.listener("default_web", "127.0.0.1", 8080) as server,
        await world.service.connect(pod.name, 8080) as here,
    ):
        there, peer = server.accept()
        there.close()
        assert peer == here.getsockname()
        assert peer[0] == "127.0.0.1"


async def test_a_port_of_the_host_is_not_the_pods(world: World) -> None:
    pod = make_pod("web")
    await world.attach(pod)
    with world.listener("", "0.0.0.0", 8082), pytest.raises(NetworkError) as caught:
        await world.service.connect(pod.name, 8082)
    assert str(caught.value) == 'cannot connect to port 8082 of pod "default/web": connection refused (ECONNREFUSED)'


async def test_a_listener_that_never_accepts_is_given_up_and_blocks_nobody(world: World) -> None:
    await world.attach(make_pod("web"))
    with world.listener("default_web", "127.0.0.1", 8080) as server:
        server.listen(0)
        filling = [world.endpoint("default_web", socket.SOCK_STREAM) for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", 8080))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        with pytest.raises(TimeoutError):
            await dial_loopback(NETNS / "default_web", 8080, seconds=0.3)
        counting.cancel()
        assert turns > 100
        for one in filling:
            one.close()


async def test_a_pin_that_is_a_plain_file_is_no_namespace(tmp_path: Path) -> None:
    plain = tmp_path / "default_web"
    plain.touch()
    with pytest.raises(FileNotFoundError):
        await dial_loopback(plain, 80)
