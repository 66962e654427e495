"""A supervisor that dies, a shim that dies, and what is known afterwards."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.model.running import ContainerExit
from tests.system.runtime.world import World, pod, shell
from tests.waiting import eventually

pytestmark = pytest.mark.root


def gone(pid: int) -> bool:
    """Ended, though perhaps nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_pods_run_on_and_are_found_again(world: World) -> None:
    one = pod(shell("main", "while :; do echo x; sleep 0.02; done"), shell("late", "sleep 0.3; exit 4"))
    image = world.image(stop_signal="SIGUSR1")
    sandbox = await world.start_sandbox(one)
    main, late = await world.start(one, image=image), await world.start(one, "late")
    (found,) = await world.restart()
    assert found.uid == one.uid
    assert found.document == {"metadata": {"name": "web"}}
    assert found.sandbox is not None
    assert (found.sandbox.pause_pid, found.sandbox.shim_pid) == (sandbox.pause_pid, sandbox.shim_pid)
    assert found.sandbox.started_at == sandbox.started_at
    by_name = {adopted.running.id.name: adopted for adopted in found.containers}
    assert by_name["main"].running.hash == main.hash
    assert (by_name["main"].running.pid, by_name["main"].exit) == (main.pid, None)
    assert by_name["main"].image_ref == "docker.io/library/busybox:latest"
    assert by_name["main"].image_digest.startswith("sha256:1111")
    assert world.engine.stop_signal(main.id) == signal.SIGUSR1
    assert (await world.end(late.id)).code == 4  # it ended after the restart
    await world.engine.kill(main.id)
    assert (await world.end(main.id)).code == 137


async def test_an_end_that_nobody_watched_is_known(world: World) -> None:
    one = pod(shell("main", "exit 9"), shell("other", "sleep 1000"))
    main = await world.start(one)
    await world.start(one, "other")
    record = world.layout.exits(one.uid) / "main.0"
    eventually(record.exists)
    (found,) = await world.restart()
    ends = {adopted.running.id.name: adopted.exit for adopted in found.containers}
    assert ends["other"] is None
    assert ends["main"] is not None
    assert ends["main"].code == 9
    # Told once: the next end is another's.
    await world.engine.kill(world.request(one, "other").id)
    assert (await world.end(world.request(one, "other").id)).code == 137
    assert [told.id.name for told in world.seen if isinstance(told, ContainerExit)] == ["other"]
    await world.engine.remove_container(main.id)
    assert not record.exists()


async def test_a_container_starts_after_a_restart(world: World) -> None:
    one = pod(shell("main", "sleep 1000"), shell("next", "exit 5"))
    await world.start(one)
    await world.restart()
    following = await world.engine.start_container(world.request(one, "next"))
    assert (await world.end(following.id)).code == 5


async def test_a_shim_that_dies_takes_its_pod_along(world: World) -> None:
    one = pod(shell("main", "setsid sleep 1000 & sleep 1000"), shell("done", "exit 6"))
    sandbox = await world.start_sandbox(one)
    main, done = await world.start(one), await world.start(one, "done")
    assert (await world.end(done.id)).code == 6
    pids = world.cgroups.pids(one.uid)
    os.kill(sandbox.shim_pid, signal.SIGKILL)
    end = await world.end(main.id)
    assert (end.code, end.reason) == (137, "ContainerStatusUnknown")
    assert "not known" in end.message
    told = await world.sandbox_end(one.uid)
    assert told.message == "the pod's shim ended, which nobody asked for"
    assert len([seen for seen in world.seen if isinstance(seen, ContainerExit) and seen.id == done.id]) == 1
    eventually(lambda: all(gone(pid) for pid in pids))
    with pytest.raises(RuntimeFailure, match="sandbox does not run"):
        await world.engine.start_container(world.request(one, "main", attempt=1))
    await world.engine.remove_sandbox(None, one.uid)
    again = await world.start(one, attempt=await world.engine.next_attempt(one, "main"))
    assert again.id.attempt == 1


async def test_a_shim_that_died_while_nobody_looked(world: World) -> None:
    one = pod(shell("main", "sleep 1000"), shell("done", "exit 6"))
    sandbox = await world.start_sandbox(one)
    main = await world.start(one)
    await world.start(one, "done")
    eventually((world.layout.exits(one.uid) / "done.0").exists)
    for held in world.engine._sandboxes.values():
        held.shim.close()
    os.kill(sandbox.shim_pid, signal.SIGKILL)
    (found,) = await world.restart()
    assert found.sandbox is None
    ends = {adopted.running.id.name: adopted.exit for adopted in found.containers}
    assert ends["done"] is not None
    assert ends["done"].code == 6
    assert ends["main"] is not None
    assert (ends["main"].code, ends["main"].reason) == (137, "ContainerStatusUnknown")
    eventually(lambda: gone(main.pid))
    eventually(lambda: gone(sandbox.pause_pid))
    await world.engine.remove_sandbox(one.name, one.uid)
    assert world.cgroups.owners() == frozenset()


async def test_a_pause_process_that_dies_is_told(world: World) -> None:
    one = pod(shell("main", "sleep 1000"))
    sandbox = await world.start_sandbox(one)
    main = await world.start(one)
    os.kill(sandbox.pause_pid, signal.SIGKILL)
    told = await world.sandbox_end(one.uid)
    assert told.message == "the sandbox's pause process ended, which nobody asked for"
    await world.engine.remove_sandbox(one.name, one.uid)
    eventually(lambda: gone(main.pid))


async def test_a_sandbox_that_was_half_made_is_finished(world: World) -> None:
    """The supervisor died between the shim's start and the pause process's."""
    one = pod(shell("main", "exit 3"))
    launch = world.engine._preparation.sandbox(one, world.attachment(one), {})
    launch.close()
    await world.engine._open_sandbox(one)
    (found,) = await world.restart()
    assert found.sandbox is None
    started = await world.start(one)
    assert (await world.end(started.id)).code == 3


async def test_a_container_that_was_prepared_but_not_launched_is_cleared(world: World) -> None:
    one = pod(shell("main", "exit 3"))
    sandbox = await world.start_sandbox(one)
    request = world.request(one, "main")
    world.engine._preparation.container(request, sandbox.pause_pid, 1.0).close()
    (found,) = await world.restart()
    assert found.containers == ()
    assert not world.layout.container(one.uid, "main", 0).exists()


async def test_a_stopped_shim_does_not_keep_its_pod(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsrun.runtime.sandbox._SHUTDOWN_SECONDS", 0.2)
    one = pod(shell("main", "sleep 1000"))
    sandbox = await world.start_sandbox(one)
    main = await world.start(one)
    os.kill(sandbox.shim_pid, signal.SIGSTOP)
    await world.engine.remove_sandbox(one.name, one.uid)
    eventually(lambda: gone(sandbox.shim_pid) and gone(main.pid))
    assert not world.layout.run_pod(one.uid).exists()


async def test_documents_that_cannot_be_read_are_none(world: World) -> None:
    one = pod(shell("main", "sleep 1000"))
    await world.start(one)
    world.layout.pod_json(one.uid).write_text("{")
    (world.layout.container_run(one.uid, "main", 0) / "state.json").write_text("[]")
    (found,) = await world.restart()
    assert found.document is None
    assert found.containers[0].image_ref == ""
    assert found.containers[0].exit is None


async def test_deep_run_directories_work(world: World) -> None:
    """A socket's address holds 107 bytes; the path of this one is longer."""
    one = pod(shell("main", "exit 0"), uid="u" * 150)
    started = await world.start(one)
    assert (await world.end(started.id)).code == 0
