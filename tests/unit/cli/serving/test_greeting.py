"""What the daemon says of itself on its terminal."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.cli.serving.daemon import _Greeter
from nsrun.model.resources import QosClass
from nsrun.model.status import Condition, Phase, PodStatus
from nsrun.settings import Settings
from nsrun.supervisor.board import StatusBoard
from nsrun.support.layout import Layout
from tests.unit.supervisor.world import pod

WEB = pod("web")
READY = PodStatus(
    phase=Phase.RUNNING,
    qos_class=QosClass.BEST_EFFORT,
    conditions=(Condition(type="Ready", status="True", last_transition_time=0.0),),
)


async def test_tips_wait_until_the_address_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pod that is found at the start is ready before its address is."""
    settings = Settings(manifests=Path("manifests"), node_name="n", layout=Layout(run_dir=tmp_path))
    board = StatusBoard()
    greeting = asyncio.create_task(_Greeter(settings, tips=True).watch(board))
    for address in ("", "10.0.0.2"):
        assert "is ready" not in capsys.readouterr().err
        board.put(WEB, replace(READY, pod_ip=address))
        for _ in range(10):
            await asyncio.sleep(0)
    await greeting
    told = capsys.readouterr().err
    assert "Pod default/web is ready at 10.0.0.2. In another terminal, try:" in told
    assert "curl http://10.0.0.2/" in told
