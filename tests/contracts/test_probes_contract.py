"""What every ``Probes`` keeps to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from nsrun.errors import NsrunError
from nsrun.model.probe import HttpGet
from nsrun.model.running import CheckResult
from nsrun.probes.service import NetworkProbes
from nsrun.supervisor.ports import Probes
from tests.contracts.fakes import FakeMachine, FakeProbes, Life
from tests.contracts.virtualclock import VirtualClock
from tests.system.probes.servers import answering

HERE = "127.0.0.1"


@dataclass(kw_only=True)
class Asked:
    """``serve``: gives the port at which everything succeeds, or fails."""

    probes: Probes
    serve: Callable[[bool], Awaitable[int]]


@pytest.fixture(params=["fake", "real"])
async def asked(request: pytest.FixtureRequest) -> AsyncIterator[Asked]:
    machine = FakeMachine(VirtualClock())
    async with AsyncExitStack() as stack:

        async def imagine(good: bool) -> int:
            machine.answers[8000 + good] = CheckResult(success=good, message="" if good else "statuscode: 503")
            return 8000 + good

        async def really(good: bool) -> int:
            answer = b"HTTP/1.1 200 OK\r\n\r\n" if good else b"HTTP/1.1 503 No\r\n\r\n"
            return (await stack.enter_async_context(answering(answer))).port

        if request.param == "real":
            yield Asked(probes=NetworkProbes(), serve=really)
        else:
            yield Asked(probes=FakeProbes(machine, Life(machine)), serve=imagine)


async def test_success_and_failure_are_answers(asked: Asked) -> None:
    good, bad = await asked.serve(True), await asked.serve(False)
    for _ in range(2):
        assert (await asked.probes.check(HttpGet(port=good), HERE, 5)).success
        result = await asked.probes.check(HttpGet(port=bad), HERE, 5)
        assert not result.success
        assert "503" in result.message


async def test_nobody_there_is_an_answer_to_a_probe(asked: Asked) -> None:
    result = await asked.probes.check(HttpGet(port=1), HERE, 5)
    assert not result.success
    assert "connection refused" in result.message


async def test_any_answer_is_one_to_a_hook(asked: Asked) -> None:
    for good in (True, False):
        await asked.probes.call(HttpGet(port=await asked.serve(good)), HERE, None)


async def test_a_hook_that_nobody_hears_fails(asked: Asked) -> None:
    with pytest.raises(NsrunError, match="connection refused"):
        await asked.probes.call(HttpGet(port=1), HERE, 5)
