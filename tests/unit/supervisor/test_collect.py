"""Who owns what lies about, and what they are called."""

from __future__ import annotations

from nsrun.supervisor.collect import leftovers, owners
from nsrun.support.layout import PodName
from tests.contracts.fakes import FakeMachine, FakeNetwork, FakeRuntime, FakeVolumes, Life
from tests.contracts.virtualclock import VirtualClock

WEB = PodName(namespace="default", name="web")


async def test_after_a_reboot_the_logs_tell_the_name() -> None:
    """Without its name, a pod whose manifest went while the machine was off would leave its logs behind."""
    machine = FakeMachine(VirtualClock())
    life = Life(machine)
    machine.volumes["uid-1"] = set()
    machine.volumes["uid-2"] = set()
    machine.logged = {"uid-1": WEB, "another program's": WEB}
    owned = await owners(FakeRuntime(machine, life), FakeNetwork(machine, life), FakeVolumes(machine, life))
    assert owned == {"uid-1": WEB, "uid-2": None}
    assert leftovers(owned, known={"uid-2"}) == {"uid-1": WEB}
