"""What containers say about their ends."""

from __future__ import annotations

import pytest

from nsrun.model.container import MessagePolicy
from nsrun.model.probe import Lifecycle
from nsrun.model.running import Exit, ExitReason
from nsrun.model.security import SecurityContext
from tests.system.runtime.world import World, pod, shell

pytestmark = pytest.mark.root

FALLBACK = MessagePolicy.FALLBACK_TO_LOGS_ON_ERROR


async def end_of(world: World, script: str, **fields: object) -> Exit:
    """Runs a script to its end in a pod of its own."""
    one = pod(shell("main", script, **fields))
    ended = await world.end((await world.start(one)).id)
    await world.engine.remove_sandbox(one.name, one.uid)
    world.seen.clear()
    return ended


async def test_the_file(world: World) -> None:
    for script, code, expected in (
        ("echo well done > /dev/termination-log", 0, "well done\n"),
        ("echo it broke > /dev/termination-log; exit 3", 3, "it broke\n"),
        ("echo only a log; exit 3", 3, ""),
        ("head -c 5000 /dev/zero | tr '\\0' x > /dev/termination-log", 0, "x" * 4096),
    ):
        ended = await end_of(world, script)
        assert (ended.code, ended.message) == (code, expected)
        assert ended.reason is (ExitReason.ERROR if code else ExitReason.COMPLETED)


async def test_any_place_any_user(world: World) -> None:
    """A place of the manifest's, in a directory that is not there, of a root that nobody can write to."""
    context = SecurityContext(run_as_user=1000, run_as_group=1000, read_only_root_filesystem=True)
    ended = await end_of(
        world, "echo said > /var/my/log", termination_message_path="/var/my/log", security_context=context
    )
    assert (ended.code, ended.message) == (0, "said\n")
    ended = await end_of(world, "ls /dev/termination-log", termination_message_path="")
    assert ended.code == 1


async def test_the_end_of_the_log(world: World) -> None:
    ended = await end_of(world, "seq 1 100; echo oops >&2; exit 1", termination_message_policy=FALLBACK)
    assert ended.message.split() == [*(str(n) for n in range(22, 101)), "oops"]
    ended = await end_of(world, "yes | head -n 3000; exit 1", termination_message_policy=FALLBACK)
    assert ended.message == "y\n" * 80
    ended = await end_of(world, "seq 1 100", termination_message_policy=FALLBACK)
    assert ended.message == ""
    script = "echo said > /dev/termination-log; echo logged; exit 1"
    assert (await end_of(world, script, termination_message_policy=FALLBACK)).message == "said\n"


async def test_a_new_supervisor_knows_the_policy(world: World) -> None:
    one = pod(shell("main", "echo logged; exit 4", termination_message_policy=FALLBACK))
    await world.end((await world.start(one)).id)
    (found,) = await world.restart()
    ended = found.containers[0].exit
    assert ended is not None
    assert (ended.code, ended.message) == (4, "logged\n")


async def test_the_manifests_stop_signal(world: World) -> None:
    """Over the image's."""
    image = world.image(stop_signal="SIGQUIT")
    plain = await world.start(pod(shell("main", "sleep 100")), image=image)
    assert world.engine.stop_signal(plain.id) == 3
    lifecycle = Lifecycle(stop_signal="SIGUSR1")
    own = await world.start(pod(shell("main", "sleep 100", lifecycle=lifecycle), name="own"), image=image)
    assert world.engine.stop_signal(own.id) == 10
    await world.restart()
    assert world.engine.stop_signal(own.id) == 10
