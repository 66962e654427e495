"""Security modules, where the host has one; and that nothing is pretended where it has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.model.running import Command
from nsrun.model.security import AppArmorProfile, ProfileType, SeLinuxOptions
from tests.system.runtime.world import SecurityContext, World, pod, shell

pytestmark = pytest.mark.root


def using(kind: ProfileType, name: str = "") -> SecurityContext:
    return SecurityContext(app_armor_profile=AppArmorProfile(type=kind, localhost_profile=name))


async def test_what_the_host_does_not_have_is_not_pretended(world: World) -> None:
    if "apparmor" not in world.facts.lsms:
        for kind in (ProfileType.RUNTIME_DEFAULT, ProfileType.LOCALHOST):
            one = pod(shell("main", "true", security_context=using(kind, "x")))
            with pytest.raises(RuntimeFailure, match="AppArmor is not enabled"):
                await world.start(one)
        assert (await world.run("true", security_context=using(ProfileType.UNCONFINED)))[0] == 0
    if "selinux" not in world.facts.lsms:
        one = pod(shell("main", "true", security_context=SecurityContext(se_linux_options=SeLinuxOptions(type="t"))))
        with pytest.raises(RuntimeFailure, match="SELinux is not enabled"):
            await world.start(one)


async def test_the_default_profile(world: World) -> None:
    if "apparmor" not in world.facts.lsms:
        pytest.skip("no AppArmor here")
    one = pod(shell("main", "cat /proc/self/attr/current; exec cat /dev/zero >/dev/null"))
    started = await world.start(one)
    assert Path(f"/proc/{started.pid}/attr/current").read_text().strip() == "nsrun-default (enforce)"
    result = await world.engine.run(started.id, Command(arguments=("cat", "/proc/self/attr/current")))
    assert result.output == b"nsrun-default (enforce)\n"
    code, output = await world.run("cat /proc/self/attr/current", security_context=using(ProfileType.UNCONFINED))
    assert (code, output) == (0, "unconfined\n")


@pytest.mark.parametrize(("kind", "mounts"), [(ProfileType.RUNTIME_DEFAULT, False), (ProfileType.UNCONFINED, True)])
async def test_under_the_default_profile_nobody_mounts(world: World, kind: ProfileType, mounts: bool) -> None:
    """Whatever his capabilities; as with docker's and containerd's."""
    if "apparmor" not in world.facts.lsms:
        pytest.skip("no AppArmor here")
    context = replace(using(kind), capabilities_add=("SYS_ADMIN",))
    script = "mkdir /m; mount -t tmpfs tmpfs /m && echo mounted; true"
    code, output = await world.run(script, security_context=context)
    assert (code, "mounted\n" in output) == (0, mounts), output


async def test_a_profile_that_is_not_loaded(world: World) -> None:
    if "apparmor" not in world.facts.lsms:
        pytest.skip("no AppArmor here")
    one = pod(shell("main", "true", security_context=using(ProfileType.LOCALHOST, "no-such-profile")))
    with pytest.raises(LaunchError, match='ask for AppArmor profile "no-such-profile"') as caught:
        await world.start(one)
    assert "apparmor_parser" in (caught.value.hint or "")
