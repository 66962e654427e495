"""Terminals and standard input of containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsrun.errors import LaunchError
from nsrun.model.running import Command
from nsrun.model.security import SecurityContext
from nsrun.model.volume import VolumeMount
from tests.system.runtime.world import World, pod, shell
from tests.waiting import eventually_async

pytestmark = pytest.mark.root


async def test_a_terminal(world: World) -> None:
    script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; echo $TERM; ls -l /dev/console; tty < /dev/tty"
    code, output = await world.run(script, tty=True)
    lines = output.replace("\r", "").splitlines()
    assert code == 0
    assert lines[:3] == ["/dev/pts/0", "all", "xterm"]
    assert lines[3].startswith("crw")
    assert "136," in lines[3], "the console is the terminal"
    assert lines[4] == "/dev/tty", "it is the controlling terminal, or this could not be opened"


async def test_a_terminal_of_an_account(world: World) -> None:
    context = SecurityContext(run_as_user=1000, run_as_group=1000, read_only_root_filesystem=True)
    code, output = await world.run("stat -c '%u %a' /dev/pts/0; echo x > /dev/tty", tty=True, security_context=context)
    assert (code, output.replace("\r", "")) == (0, "1000 620\nx\n")


async def test_what_is_written_at_the_end_is_not_lost(world: World) -> None:
    code, output = await world.run("seq 1 5000; exit 3", tty=True)
    assert code == 3
    assert output.split() == [str(n) for n in range(1, 5001)]


async def test_it_outlives_whoever_closes_it(world: World) -> None:
    script = "exec < /dev/null > /tmp/out 2>&1; sleep 0.1; echo again > /dev/console; echo more > /dev/console"
    code, output = await world.run(script, tty=True)
    assert (code, output.split()) == (0, ["again", "more"])


async def test_nothing_else_is_taken_for_a_multiplexer(world: World) -> None:
    """CVE-2025-52565: a volume in the place of /dev/pts."""
    volume = world.root / "volume"
    volume.mkdir()
    (volume / "ptmx").symlink_to("/dev/null")
    one = pod(shell("main", "true", tty=True, volume_mounts=(VolumeMount(name="v", mount_path="/dev/pts"),)))
    with pytest.raises(LaunchError) as caught:
        await world.start(one, volumes={"v": volume})
    assert caught.value.step == "terminal"


async def test_standard_input_is_open_or_empty(world: World) -> None:
    code, output = await world.run("cat; echo ended", stdin=False)
    assert (code, output) == (0, "ended\n")
    one = pod(shell("main", "cat; echo ended", stdin=True))
    started = await world.start(one)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    await eventually_async(lambda: children.read_text().split())
    result = await world.engine.run(started.id, Command(arguments=("/bin/readlink", "/proc/1/fd/0")))
    assert result.output.startswith(b"pipe:")
    result = await world.engine.run(started.id, Command(arguments=("/bin/sh", "-c", "ls /proc/1/fd | wc -l")))
    assert result.output == b"3\n"
    (cat,) = children.read_text().split()
    assert os.readlink(f"/proc/{cat}/fd/0").startswith("pipe:"), "it still waits"
