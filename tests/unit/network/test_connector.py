"""The connector over programs that are scripts: what it does when they fail, end, or say something."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from nsrun.network.connector import Connector
from nsrun.network.home import HostHome
from nsrun.network.uplink import ConnectorProgram, Uplink
from tests.waiting import PATIENCE, eventually_async

HELP = 'if [ "$1" = --help ]; then echo "  --link ADDR"; exit; fi'


def _arguments(_options: frozenset[str], uplink: Uplink, netns: Path) -> tuple[str, ...]:
    return ("--link", str(uplink.address), str(netns))


PROGRAM = ConnectorProgram(name="carrier", package="carriers", required=frozenset({"--link"}), arguments=_arguments)

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program into PATH: a name, and what it does but tell its options."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def put(name: str, script: str) -> None:
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{HELP}\n{script}\n")
        path.chmod(0o755)

    return put


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Connector]:
    """Connectors of a namespace to which the only way out is a file ``up``."""
    (tmp_path / "netns").touch()
    monkeypatch.setattr("nsrun.network.connector._tun_obstacle", str)
    monkeypatch.setattr("nsrun.network.connector._delete_tap", lambda: None)

    async def up(_connector: Connector, _changes: socket.socket) -> None:
        await eventually_async((tmp_path / "up").exists)

    monkeypatch.setattr(Connector, "_default_route", up)

    def connector(*programs: ConnectorProgram) -> Connector:
        pods = IPv4Network("10.99.0.0/16")
        return Connector(
            home=HostHome(), netns=tmp_path / "netns", directory=tmp_path, pods=pods, programs=programs or (PROGRAM,)
        )

    return connector


async def test_one_that_says_why_it_cannot_is_quoted(install: Install, make: Callable[..., Connector]) -> None:
    install("carrier", 'echo "Failed to send 3 bytes to syslog" >&2; echo "no tap for you" >&2; exit 1')
    connector = make()
    assert await connector.start() == ("pods have no way to the outside: carrier: no tap for you",)
    assert (connector.name_server, connector.pid) == ("", None)


async def test_one_that_says_nothing_is_told_of_too(install: Install, make: Callable[..., Connector]) -> None:
    install("carrier", "exit 0")
    assert await make().start() == ("pods have no way to the outside: carrier: it makes no way out",)


async def test_one_that_is_too_old_is_not_started(install: Install, make: Callable[..., Connector]) -> None:
    install("carrier", "touch started; sleep 100")
    young = replace(PROGRAM, required=frozenset({"--link", "--newer"}))
    (sentence,) = await make(young).start()
    assert sentence == "pods have no way to the outside: carrier: it is too old: it has no --newer"


async def test_what_cannot_be_started_is_told(install: Install, make: Callable[..., Connector], tmp_path: Path) -> None:
    install("carrier", "exec sleep 100")
    (tmp_path / "bin" / "carrier").write_text("#!/nowhere/sh\n")
    (sentence,) = await make().start()
    assert re.fullmatch(r"pods have no way to the outside: carrier: no such file or directory.*", sentence)


async def test_the_next_program_is_tried_and_the_first_that_works_is_kept(
    install: Install, make: Callable[..., Connector], tmp_path: Path
) -> None:
    install("carrier", "echo broken; exit 3")
    install("other", f"touch {tmp_path / 'up'}; exec sleep 100")
    connector = make(PROGRAM, replace(PROGRAM, name="other"))
    assert await connector.start() == ()
    assert connector.name_server == "10.0.2.3"
    pid = connector.pid
    assert pid is not None
    await connector.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert not (tmp_path / "connector.json").exists()


async def test_one_that_ignores_its_end_is_killed(
    install: Install, make: Callable[..., Connector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsrun.network.connector._STOP_SECONDS", 0.2)
    install("carrier", f"trap '' TERM; touch {tmp_path / 'up'}; while :; do sleep 100; done")
    connector = make()
    assert await connector.start() == ()
    pid = connector.pid
    await connector.stop()
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()


async def test_stopping_ends_the_keeping_too(install: Install, make: Callable[..., Connector], tmp_path: Path) -> None:
    install("carrier", f"touch {tmp_path / 'up'}; exec sleep 100")
    connector = make()
    await connector.start()
    keeping = asyncio.create_task(connector.keep())
    await asyncio.sleep(0)
    await connector.stop()
    async with asyncio.timeout(10 * PATIENCE):
        await keeping
    assert connector.pid is None


async def test_while_it_is_started_again_pods_are_told_where_it_will_answer(
    install: Install, make: Callable[..., Connector], tmp_path: Path
) -> None:
    install("carrier", f"touch {tmp_path / 'up'}; exec sleep 100")
    connector = make()
    assert await connector.start() == ()
    pid = connector.pid
    assert pid is not None
    (tmp_path / "bin" / "carrier").unlink()
    keeping = asyncio.create_task(connector.keep())
    os.kill(pid, signal.SIGKILL)
    await eventually_async(lambda: connector.pid is None)
    assert connector.name_server == "10.0.2.3"
    await connector.stop()
    await keeping


async def test_what_is_installed_later_is_found_later(
    install: Install, make: Callable[..., Connector], tmp_path: Path
) -> None:
    connector = make(PROGRAM, replace(PROGRAM, name="other"))
    (sentence,) = await connector.start()
    assert sentence == "pods have no way to the outside: neither carrier nor other is installed (apt install carriers)"
    keeping = asyncio.create_task(connector.keep())
    install("carrier", f"touch {tmp_path / 'up'}; exec sleep 100")
    await eventually_async(lambda: connector.pid)
    await connector.stop()
    await keeping
