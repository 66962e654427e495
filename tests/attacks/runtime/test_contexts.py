"""Attacks from pods that were given more than others: host namespaces, a shared process namespace, capabilities, users
of their own, parameters of the kernel. Each test fails when the defence is taken out."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.model.security import PodSecurityContext, ProfileType, SeccompProfile, Sysctl
from nsrun.support import native
from tests.system.runtime.world import SecurityContext, VolumeMount, World, container, pod, shell
from tests.waiting import eventually

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
SHARED: dict[str, Any] = {"share_process_namespace": True}


@pytest.fixture
def watcher(world: World) -> Path:
    """A layer with a program that waits for processes to appear, and lays hands on them before they execute."""
    layer = world.root / "layer"
    layer.mkdir(mode=0o755)
    subprocess.run(
        [os.environ.get("CC", "cc"), "-O2", "-static", "-o", layer / "watcher", HERE / "watcher.c"], check=True
    )
    return layer


async def watched(world: World, layer: Path, context: SecurityContext, spec: dict[str, Any]) -> dict[str, set[str]]:
    """What a container learns of others of its pod while they are set up."""
    one = pod(
        container("main", "/watcher", security_context=context),
        shell("caps", "grep CapEff /proc/self/status"),
        container("other", "/bin/true"),
        **spec,
    )
    image = world.image(layer)
    await world.start(one, image=image)
    caps = await world.start(one, "caps", image=image)
    await world.end(caps.id)
    log = world.layout.container_log(one.name, one.uid, "main", 0)
    eventually(lambda: b"ready" in log.read_bytes())
    for attempt in range(200):
        other = await world.start(one, "other", image=image, attempt=attempt)
        await world.end(other.id)
        await world.engine.remove_container(other.id)
        if log.read_bytes().count(b" trace ") >= 20:
            break
    found: dict[str, set[str]] = {"own": {world.output(one, caps.id).split()[1]}}
    for line in log.read_text().splitlines():
        word, _, value = line.split(" ", 3)[3].partition(" ")
        found.setdefault(word, set()).add(value)
    return found


@pytest.mark.parametrize("spec", [SHARED, {**SHARED, "host_users": False}])
async def test_a_container_that_is_set_up_among_others(world: World, watcher: Path, spec: dict[str, Any]) -> None:
    """CVE-2016-9962, where the process namespace is the pod's: whoever may trace there could take the power by which
    root file systems are built. So what is seen there has no more of it than its container, and nothing open."""
    found = await watched(world, watcher, SecurityContext(capabilities_add=("SYS_PTRACE",)), spec)
    assert found.get("caps"), "the watcher was not fast enough to see one"
    assert found["caps"] == found["own"]
    assert {target.partition(":")[0] for target in found.get("fd", ())} <= {"socket"}, "the line to the shim"
    assert found["exe"] == {"refused"}


async def test_who_may_not_trace_gets_nothing_at_all(world: World, watcher: Path) -> None:
    found = await watched(world, watcher, SecurityContext(), dict(SHARED))
    assert found.get("caps"), "the watcher was not fast enough to see one"
    assert "fd" not in found
    assert found["mem"] <= {"refused", "gone"}
    assert found["trace"] <= {"refused", "gone"}


async def test_a_shared_proc_wants_a_real_directory(world: World) -> None:
    """CVE-2019-19921: where /proc is taken from the sandbox, a link in its place leads masks astray as well."""
    layer = world.root / "layer"
    (layer / "elsewhere").mkdir(parents=True)
    (layer / "proc").symlink_to("/elsewhere")
    one = pod(shell("main", "true"), **SHARED)
    with pytest.raises(LaunchError) as caught:
        await world.start(one, image=world.image(layer))
    assert 'at "/proc"' in caught.value.message


async def test_a_shared_proc_is_masked_for_each(world: World) -> None:
    script = (
        "cat /proc/keys | wc -c; (echo x > /proc/sysrq-trigger) 2>/dev/null && echo WROTE; cat /proc/self/mountinfo"
    )
    code, output = await world.run(script, spec=SHARED)
    lines = output.splitlines()
    mounts = {line.split()[4]: line.split()[5].split(",") for line in lines[1:]}
    assert (code, lines[0]) == (0, "0")
    assert {"nosuid", "nodev", "noexec"} <= set(mounts["/proc"])
    for place in ("/proc/sys", "/proc/irq"):
        assert "ro" in mounts[place], place


# --- namespaces of the host


async def test_among_the_hosts_processes_ours_are_closed(world: World) -> None:
    """hostPID shows the shim, and all of nsrun; it opens neither."""
    one = pod(shell("main", "exec cat /dev/zero > /dev/null"), host_pid=True)
    started, sandbox = await world.start(one), await world.start_sandbox(one)
    assert started.pid in world.cgroups.pids(one.uid)
    script = f"""
    for p in {sandbox.shim_pid} {os.getpid()}; do
        cat /proc/$p/comm
        ls /proc/$p/fd /proc/$p/root/ /proc/$p/cwd/ >/dev/null 2>&1 && echo "OPEN $p"
        head -c 1 /proc/$p/mem >/dev/null 2>&1 && echo "MEMORY $p"
        head -c 1 /proc/$p/environ 2>/dev/null | grep -q . && echo "ENVIRONMENT $p"
    done
    true
    """
    context = SecurityContext(run_as_user=1000)
    spy = pod(shell("main", script, security_context=context), name="spy", host_pid=True)
    seen = await world.start(spy)
    await world.end(seen.id)
    lines = world.output(spy, seen.id).splitlines()
    assert lines[0] == "nsrun-shim"
    assert not [line for line in lines if line.split()[0].isupper()], lines


async def test_in_the_hosts_network_no_socket_of_ours_is_in_reach(world: World) -> None:
    """CVE-2020-15257: abstract sockets belong to the network, and whoever is in it could talk to them."""
    one = pod(shell("main", "grep -c nsrun /proc/net/unix; grep -F 'shim.sock' /proc/net/unix"), host_network=True)
    started = await world.start(one)
    await world.end(started.id)
    for line in world.output(one, started.id).splitlines()[1:]:
        assert line.split()[-1].startswith("shim.sock"), line  # a path, relative to a directory that is 0700
        assert "@" not in line
    assert not [
        line for line in Path("/proc/net/unix").read_text().splitlines() if line.split()[-1].startswith("@nsrun")
    ]


# --- parameters of the kernel


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.shm_rmid_forced=1+kernel.core_pattern", "|/evil"),
        ("kernel.core_pattern", "|/evil"),
        ("net/../kernel/core_pattern", "|/evil"),
        ("net.ipv4....kernel.core_pattern", "|/evil"),
        ("net.ipv4.conf/../../../../kernel/core_pattern", "|/evil"),
        ("kernel.shm/../core_pattern", "|/evil"),
        ("fs.mqueue./../../kernel.core_pattern", "|/evil"),
        ("vm.overcommit_memory", "1"),
    ],
)
async def test_parameters_of_the_machine(world: World, name: str, value: str) -> None:
    """CVE-2022-0811: whatever a name looks like, and whoever let it pass before."""
    before = [Path(f"/proc/sys/{path}").read_text() for path in ("kernel/core_pattern", "vm/overcommit_memory")]
    one = pod(
        shell("main", "true"),
        security_context=PodSecurityContext(sysctls=(Sysctl(name=name, value=value),)),
    )
    with pytest.raises(RuntimeFailure):
        await world.start_sandbox(one)
    after = [Path(f"/proc/sys/{path}").read_text() for path in ("kernel/core_pattern", "vm/overcommit_memory")]
    assert after == before


# --- seccomp


@pytest.mark.parametrize("name", ["../outside.json", "link.json", "/outside.json", "", "fifo", "null"])
async def test_profiles_outside_of_their_directory(world: World, name: str) -> None:
    """CVE-2023-2431 and its like: what is no profile of the operator's must not come to mean no filter."""
    directory = world.layout.seccomp
    directory.mkdir(parents=True)
    outside = directory.parent / "outside.json"
    outside.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    (directory / "link.json").symlink_to(outside)
    os.mkfifo(directory / "fifo")
    (directory / "null").symlink_to("/dev/null")
    profile = SeccompProfile(type=ProfileType.LOCALHOST, localhost_profile=name)
    one = pod(shell("main", "true", security_context=SecurityContext(seccomp_profile=profile)))
    with pytest.raises(RuntimeFailure, match="cannot read seccomp profile"):
        await world.start(one)


# --- users of their own


async def test_root_of_a_pod_is_nobody_to_files_that_are_not_shown_to_it(world: World) -> None:
    """What reaches it without a map: here the root of the host, through a mount below a volume."""
    volume = world.root / "volume"
    (volume / "host").mkdir(parents=True)
    native.mount("/etc", str(volume / "host"), "none", native.MS_BIND)
    try:
        context = SecurityContext(capabilities_add=("ALL",))
        script = "cat /v/host/shadow; touch /v/host/nsrun-was-here; stat -c %u /v/host/shadow; true"
        code, output = await world.run(
            script,
            spec={"host_users": False},
            security_context=context,
            volume_mounts=(VolumeMount(name="v", mount_path="/v"),),
            volumes={"v": volume},
        )
        assert code == 0
        assert "root:" not in output
        assert output.splitlines()[-1] == "65534"
        assert not Path("/etc/nsrun-was-here").exists()
    finally:
        native.umount(str(volume / "host"))


async def test_no_power_of_a_pods_root_reaches_out(world: World) -> None:
    """Every capability there is, and a process of the host's, a device, a setting and a mount to try them on."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    script = """
    mknod /x b 254 0 && echo MADE
    mount -t sysfs s /mnt 2>/dev/null && (echo 1 > /mnt/kernel/mm/ksm/run) 2>/dev/null && echo WROTE
    (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo WROTE
    date -s 2000-01-01 2>&1 | grep -q "can't set date" || echo CLOCK
    dmesg -c >/dev/null 2>&1 && echo LOG
    true
    """
    context = SecurityContext(privileged=True)
    code, output = await world.run(script, spec={"host_users": False}, security_context=context)
    assert code == 0
    assert not [line for line in output.splitlines() if line.isupper()], output
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before
