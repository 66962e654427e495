"""Pods with a user namespace of their own (hostUsers: false)."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.model.running import Command, PreparedVolume
from nsrun.model.security import PodSecurityContext, ProcMount, Sysctl
from nsrun.support import native
from nsrun.support.idranges import IdRanges
from tests.system.runtime.world import NO_APP_ARMOR, SecurityContext, VolumeMount, World, pod, shell

pytestmark = pytest.mark.root

OWN: dict[str, Any] = {"host_users": False}
ADMIN = SecurityContext(capabilities_add=("SYS_ADMIN", "NET_ADMIN"), app_armor_profile=NO_APP_ARMOR)


def owner(path: str) -> int:
    """The inode of the user namespace that a namespace belongs to."""
    namespace = os.open(path, os.O_RDONLY)
    users = fcntl.ioctl(namespace, 0xB701)
    try:
        return os.fstat(users).st_ino
    finally:
        os.close(users)
        os.close(namespace)


def first_of(world: World, uid: str = "uid-web") -> int:
    held = IdRanges(world.layout.id_ranges).find(uid)
    assert held is not None
    return held.first


@pytest.fixture
def shared(world: World) -> Path:
    """A directory of the host."""
    path = world.root / "shared"
    path.mkdir(mode=0o755)
    return path


async def test_root_is_somebody_else_outside(world: World) -> None:
    one = pod(
        shell("main", "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; exec cat /dev/zero >/dev/null"), **OWN
    )
    started = await world.start(one)
    line = Path(f"/proc/{started.pid}/uid_map").read_text().split()
    first = first_of(world)
    assert line == ["0", str(first), "65536"]
    assert Path(f"/proc/{started.pid}/gid_map").read_text().split() == line
    status = Path(f"/proc/{started.pid}/status").read_text()
    assert f"Uid:\t{first}\t{first}\t{first}\t{first}\n" in status
    assert f"Gid:\t{first}\t{first}\t{first}\t{first}\n" in status
    assert started.pid in world.cgroups.pids(one.uid)  # CVE-2025-47291
    sandbox = await world.start_sandbox(one)
    assert f"Uid:\t{first + 65535}\t" in Path(f"/proc/{sandbox.pause_pid}/status").read_text()


async def test_what_its_user_namespace_owns(world: World) -> None:
    one = pod(shell("main", "exec cat /dev/zero >/dev/null"), **OWN)
    started, sandbox = await world.start(one), await world.start_sandbox(one)
    own = os.stat(f"/proc/{sandbox.pause_pid}/ns/user").st_ino
    assert own != os.stat("/proc/self/ns/user").st_ino
    assert os.stat(f"/proc/{started.pid}/ns/user").st_ino == own
    for kind in ("net", "ipc", "uts", "mnt"):
        assert owner(f"/proc/{started.pid}/ns/{kind}") == own, kind
        assert owner(f"/proc/{sandbox.pause_pid}/ns/{kind}") == own, kind


async def test_the_image_belongs_to_its_root(world: World) -> None:
    layer = world.root / "layer"
    (layer / "etc").mkdir(parents=True)
    (layer / "etc" / "secret").write_text("root's\n")
    (layer / "etc" / "secret").chmod(0o600)
    (layer / "of-app").touch()
    os.chown(layer / "of-app", 1000, 100)
    script = """
    stat -c '%u:%g' / /bin /etc/secret /of-app /dev /dev/null /dev/pts /new/place
    cat /etc/secret; echo more >> /etc/secret; cat /etc/secret | wc -l
    echo x > /made && stat -c '%u:%g' /made
    pwd; chown 5:6 /made && stat -c '%u:%g' /made
    """
    one = pod(shell("main", script, working_dir="/new/place"), **OWN)
    started = await world.start(one, image=world.image(layer))
    assert (await world.end(started.id)).code == 0, world.output(one, started.id)
    assert world.output(one, started.id).splitlines() == [
        *("0:0", "0:0", "0:0", "1000:100", "0:0", "0:0", "65534:65534", "0:0"),
        *("root's", "2", "0:0", "/new/place", "5:6"),
    ]
    first = first_of(world)
    upper = world.layout.container(one.uid, "main", 0) / "upper"
    made = (upper / "made").stat()
    assert (made.st_uid, made.st_gid) == (first + 5, first + 6)
    assert (upper / "etc" / "secret").stat().st_uid == first
    assert (layer / "etc" / "secret").read_text() == "root's\n"


async def test_the_pods_own_files_are_its_roots(world: World) -> None:
    one = pod(shell("main", "stat -c %u /etc/hosts && echo more >> /etc/hosts"), **OWN)
    world.layout.pod(one.uid).mkdir(parents=True)
    hosts = world.layout.etc_hosts(one.uid)
    hosts.write_text("10.0.0.2 web\n")
    started = await world.start(one)
    assert (await world.end(started.id)).code == 0
    assert world.output(one, started.id) == "0\n"
    assert hosts.read_text() == "10.0.0.2 web\nmore\n"
    assert hosts.stat().st_uid == 0


async def test_what_it_may_do_inside(world: World) -> None:
    """With the capabilities for it, and nothing that it could not undo for itself."""
    script = """
    ip link set lo mtu 1400 && ip link show lo | grep -o 'mtu 1400'
    mkdir /m && mount -t tmpfs tmpfs /m && touch /m/x && echo mounted
    hostname inside && hostname
    """
    code, output = await world.run(script, security_context=ADMIN, spec=OWN)
    assert (code, output.splitlines()) == (0, ["mtu 1400", "mounted", "inside"])


async def test_what_is_mounted_stays(world: World, shared: Path) -> None:
    """Masks and read-only places are locked: a container that may mount could take them away otherwise."""
    (shared / "file").write_text("x")
    script = """
    umount /proc/keys && echo UNMASKED
    umount /proc/sys && echo UNSEALED
    umount /ro && echo UNMOUNTED
    mount -o remount,bind,rw /ro && echo REMOUNTED
    mount -o remount,bind,rw /sys && echo REMOUNTED
    mkdir -p /p && mount -t proc proc /p && echo PROC
    touch /ro/new && echo WRITTEN
    true
    """
    mounts = (VolumeMount(name="v", mount_path="/ro", read_only=True),)
    code, output = await world.run(
        script, security_context=ADMIN, spec=OWN, volume_mounts=mounts, volumes={"v": shared}
    )
    assert code == 0
    assert not [line for line in output.splitlines() if line.isupper()], output
    assert os.listdir(shared) == ["file"]


async def test_volumes_show_the_numbers_on_disk(world: World, shared: Path) -> None:
    (shared / "of-root").write_text("root's\n")
    (shared / "of-root").chmod(0o600)
    (shared / "of-app").touch()
    os.chown(shared / "of-app", 1000, 2000)
    script = "cat /data/of-root; stat -c '%u:%g' /data/of-app; touch /data/new; chown 7:8 /data/new"
    mounts = (VolumeMount(name="v", mount_path="/data"),)
    code, output = await world.run(script, spec=OWN, volume_mounts=mounts, volumes={"v": shared})
    assert (code, output.splitlines()) == (0, ["root's", "1000:2000"])
    new = (shared / "new").stat()
    assert (new.st_uid, new.st_gid) == (7, 8)


async def test_what_is_not_shown_to_it_belongs_to_nobody(world: World, shared: Path) -> None:
    """Of a mount below a volume the owners are not translated, and root inside is nobody to them."""
    (shared / "below").mkdir()
    native.mount("tmpfs", str(shared / "below"), "tmpfs", 0, "mode=755")
    try:
        secret = shared / "below" / "secret"
        secret.write_text("of the host\n")
        secret.chmod(0o600)
        script = """
        stat -c '%u' /data/below/secret; cat /data/below/secret; rm -f /data/below/secret; chmod 777 /data/below; true
        """
        mounts = (VolumeMount(name="v", mount_path="/data"),)
        context = SecurityContext(capabilities_add=("ALL",))
        code, output = await world.run(
            script, spec=OWN, security_context=context, volume_mounts=mounts, volumes={"v": shared}
        )
        assert code == 0
        assert output.splitlines()[0] == "65534"
        assert "of the host" not in output
        assert secret.read_text() == "of the host\n"
    finally:
        native.umount(str(shared / "below"))


async def test_a_file_system_that_cannot_be_shown(world: World) -> None:
    one = pod(shell("main", "true", volume_mounts=(VolumeMount(name="v", mount_path="/data"),)), **OWN)
    await world.start_sandbox(one)
    with pytest.raises(RuntimeFailure, match="cannot show other owners") as caught:
        await world.start(one, volumes={"v": Path("/proc/sys")})
    assert "hostUsers" in (caught.value.hint or "")


async def test_layers_of_an_image_as_a_volume(world: World) -> None:
    layers = []
    for name in ("a", "b"):
        layer = world.root / f"layer-{name}"
        layer.mkdir()
        (layer / name).write_text(f"{name}\n")
        (layer / name).chmod(0o600)
        layers.append(str(layer))
    script = "cat /img/a /img/b; stat -c %u /img/a /img/b; touch /img/x 2>/dev/null || echo refused"
    one = pod(shell("main", script, volume_mounts=(VolumeMount(name="v", mount_path="/img"),)), **OWN)
    await world.start_sandbox(one)
    request = world.request(one, "main")
    request = replace(request, volumes={"v": PreparedVolume(name="v", layers=tuple(layers), read_only=True)})
    started = await world.engine.start_container(request)
    await world.end(started.id)
    lines = world.output(one, started.id).splitlines()
    assert lines[:4] == ["a", "b", "0", "0"]
    assert lines[-1] == "refused"


async def test_commands_join_it(world: World) -> None:
    one = pod(shell("main", "exec cat /dev/zero >/dev/null"), **OWN)
    started = await world.start(one)
    command = Command(
        arguments=("/bin/sh", "-c", "id -u; grep CapEff /proc/self/status; cat /proc/self/uid_map; ulimit -n")
    )
    result = await world.engine.run(started.id, command)
    assert result.code == 0
    lines = result.output.decode().splitlines()
    assert lines[0] == "0"
    assert lines[1].endswith("00000000800405fb")
    assert lines[2].split() == ["0", str(first_of(world)), "65536"]
    assert lines[3] == Path(f"/proc/{started.pid}/limits").read_text().split("Max open files")[1].split()[0]


@pytest.mark.parametrize("spec", [OWN, {**OWN, "share_process_namespace": True}])
async def test_users_and_what_they_share(world: World, spec: dict[str, Any]) -> None:
    script = (
        "id -u; id -G; touch /dev/shm/x && stat -c %u /dev/shm/x; echo > /dev/null; grep Seccomp: /proc/self/status"
    )
    context = SecurityContext(run_as_user=1000, run_as_group=2000)
    pod_context = PodSecurityContext(fs_group=3000)
    code, output = await world.run(script, security_context=context, spec={**spec, "security_context": pod_context})
    assert (code, output.split()) == (0, ["1000", "2000", "3000", "1000", "Seccomp:", "2"])


async def test_ids_end_where_the_range_does(world: World) -> None:
    one = pod(shell("main", "true", security_context=SecurityContext(run_as_user=70000)), **OWN)
    with pytest.raises(LaunchError, match="become user 70000") as caught:
        await world.start(one)
    assert "65535" in (caught.value.hint or "")


async def test_sysctls(world: World) -> None:
    asked = {"net.ipv4.ip_local_port_range": "40000 50000", "kernel.msgmax": "12345"}
    context = PodSecurityContext(sysctls=tuple(Sysctl(name=name, value=value) for name, value in asked.items()))
    files = [Path("/proc/sys") / name.replace(".", "/") for name in asked]
    before = [file.read_text() for file in files]
    script = f"cat {files[0]} {files[1]} /proc/sys/net/ipv4/ip_unprivileged_port_start"
    code, output = await world.run(script, spec={**OWN, "security_context": context})
    assert (code, output.split()) == (0, ["40000", "50000", "12345", "0"])
    assert [file.read_text() for file in files] == before


async def test_an_unmasked_proc_shows_and_lets_nothing_be_changed(world: World) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    script = """
    for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/vm/drop_caches; do
        (echo 1 > $f) 2>/dev/null && echo "WROTE $f"
    done
    head -c 1 /proc/kcore 2>/dev/null && echo READ
    true
    """
    context = SecurityContext(proc_mount=ProcMount.UNMASKED, capabilities_add=("ALL",))
    code, output = await world.run(script, security_context=context, spec=OWN)
    assert (code, output) == (0, "")
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


async def test_privileged_in_there_is_not_privileged_out_here(world: World) -> None:
    """Devices of the host are there, and still belong to whom they belong on the host."""
    script = """
    stat -c '%u:%g' /dev/kmsg; stat -c '%u:%g' /dev/null
    echo x > /dev/kmsg && echo WROTE
    mknod /dev/x c 1 11 && echo MADE
    echo 1 > /sys/kernel/mm/ksm/run && echo WROTE
    mkdir /sys/fs/cgroup/x && echo MADE
    true
    """
    context = SecurityContext(privileged=True)
    code, output = await world.run(script, security_context=context, spec=OWN)
    assert code == 0
    assert output.splitlines()[:2] == ["65534:65534", "0:0"]
    assert not [line for line in output.splitlines() if line.isupper()], output


async def test_pods_have_ranges_of_their_own_and_keep_them(world: World) -> None:
    pods = [pod(shell("main", "exec cat /dev/zero >/dev/null"), name=name, **OWN) for name in ("a", "b")]
    started = [await world.start(one) for one in pods]
    maps = [Path(f"/proc/{each.pid}/uid_map").read_text() for each in started]
    assert maps[0] != maps[1]
    await world.restart()
    again = await world.start(pods[0], attempt=1)
    assert Path(f"/proc/{again.pid}/uid_map").read_text() == maps[0]


async def test_a_network_of_the_hosts_users_is_refused(world: World) -> None:
    """A pod that asks for a user namespace never runs without one."""
    one = pod(shell("main", "true"), **OWN)
    world.attachment(pod(shell("main", "true")))  # pinned under the same name
    IdRanges(world.layout.id_ranges).acquire(one.uid)
    with pytest.raises(RuntimeFailure, match="belongs to the host's user namespace"):
        await world.start_sandbox(one)


async def test_without_a_range_it_does_not_start(world: World) -> None:
    one = pod(shell("main", "true"), **OWN)
    world.attachment(one)
    shutil.rmtree(world.layout.id_ranges)
    with pytest.raises(RuntimeFailure, match="no range of user ids"):
        await world.start_sandbox(one)


@pytest.mark.parametrize(("proc", "nested"), [(ProcMount.UNMASKED, True), (ProcMount.DEFAULT, False)])
async def test_containers_in_a_container(world: World, proc: ProcMount, nested: bool) -> None:
    """What procMount: Unmasked is for: a new process namespace gets a /proc, where none of this one is masked."""
    script = "unshare -p -f -m sh -c 'mount -t proc proc /proc && echo pid=$(readlink /proc/self)'; true"
    context = SecurityContext(capabilities_add=("SYS_ADMIN",), app_armor_profile=NO_APP_ARMOR, proc_mount=proc)
    code, output = await world.run(script, security_context=context, spec=OWN)
    assert code == 0
    assert ("pid=" in output) is nested, output
