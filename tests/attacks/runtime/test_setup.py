"""Attacks on the set-up of a container: hostile images and hostile programs. Each test fails when the defence is taken
out."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.runtime.engine import Programs
from tests.system.runtime.world import EnvVar, SecurityContext, VolumeMount, World, container, pod, shell
from tests.waiting import eventually

pytestmark = pytest.mark.root


@pytest.fixture
def layer(world: World) -> Path:
    """A hostile image's topmost layer."""
    path = world.root / "layer"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def victim(world: World) -> Path:
    """A directory of the host."""
    path = world.root / "victim"
    path.mkdir(mode=0o755)
    (path / "file").write_text("precious\n")
    return path


def untouched(victim: Path) -> bool:
    return sorted(os.listdir(victim)) == ["file"] and (victim / "file").read_text() == "precious\n"


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
async def test_kernel_file_systems_want_real_directories(world: World, layer: Path, victim: Path, place: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2026-41579: a link in the place of /proc, /sys or /dev leads masks and device
    nodes elsewhere, out of the root file system even."""
    (layer / "elsewhere").mkdir()
    for target in (victim, Path("/elsewhere")):
        (layer / place).unlink(missing_ok=True)
        (layer / place).symlink_to(target)
        one = pod(shell("main", "true"))
        with pytest.raises(LaunchError) as caught:
            await world.start(one, image=world.image(layer))
        assert f'at "/{place}"' in caught.value.message
        assert caught.value.hint == "the image has something other than a directory there"
    assert untouched(victim)


async def test_volumes_of_the_image_are_mounted_nowhere(world: World, layer: Path, victim: Path) -> None:
    """CVE-2022-23648: ``Volumes`` of an image's configuration are places to mount something, and to copy to or from.
    What is mounted is for the manifest to say."""
    (layer / "data").mkdir()
    (layer / "data/own").write_text("the image's\n")
    (layer / "etc").symlink_to(victim)
    names = ("/data", "/proc/sys", f"/../../..{victim}", "/etc", "/root/link/../../..", "relative", "")
    script = "cut -d' ' -f5 /proc/self/mountinfo; cat /data/own"
    told = [await world.run(script, image=world.image(layer, volumes=volumes)) for volumes in ((), names)]
    assert told[0] == told[1]
    assert told[0][0] == 0
    assert "/data\n" not in told[0][1]
    assert untouched(victim)


async def test_a_null_device_of_the_image_masks_nothing(world: World, layer: Path) -> None:
    """CVE-2025-31133: masks are the host's /dev/null, whatever the image calls so."""
    (layer / "dev").mkdir()
    (layer / "dev" / "null").symlink_to("/proc/sys/kernel/core_pattern")
    code, output = await world.run("ls -lL /dev/null /proc/keys; cat /proc/keys", image=world.image(layer))
    assert code == 0
    assert output.count("1,   3") == 2
    assert len(output.splitlines()) == 2


async def test_no_descriptor_leaks_and_none_can_be_entered(world: World) -> None:
    """CVE-2024-21626: a working directory that is a descriptor of the host's."""
    _, output = await world.run("ls /proc/1/fd; true")
    assert output.split() == ["0", "1", "2"]
    for number in (*range(3, 24), 100):
        one = pod(shell("main", "cat ../../../../etc/hostname; true", working_dir=f"/proc/self/fd/{number}"))
        with pytest.raises(LaunchError) as caught:
            await world.start(one, attempt=number)
        assert caught.value.step == "cwd"


async def test_a_descriptor_that_is_left_open_here_stays_here(world: World, victim: Path) -> None:
    fd = os.open(victim, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        _, output = await world.run("ls /proc/1/fd; ls -l /proc/1/fd")
    finally:
        os.close(fd)
    assert output.split()[:3] == ["0", "1", "2"]
    assert "victim" not in output


async def test_a_working_directory_is_made_inside(world: World, layer: Path, victim: Path) -> None:
    """CVE-2026-55686: a link on the way to WORKDIR."""
    (layer / "a").symlink_to(victim)
    code, output = await world.run("pwd", image=world.image(layer, working_dir="/a/b"))
    assert code == 0
    assert output.strip() == f"{victim}/b"  # of the container
    assert untouched(victim)


async def test_a_volume_is_mounted_inside(world: World, layer: Path, victim: Path) -> None:
    """CVE-2021-30465, CVE-2024-45310: a link on the way to a mount's destination."""
    volume = world.root / "volume"
    volume.mkdir()
    (layer / "data").symlink_to(victim)
    mounts = (VolumeMount(name="v", mount_path="/data/new"),)
    script = f"touch /data/new/x; ls {victim}"
    code, output = await world.run(script, image=world.image(layer), volume_mounts=mounts, volumes={"v": volume})
    assert code == 0
    assert output.split() == ["new"]
    assert os.listdir(volume) == ["x"]
    assert untouched(victim)


async def test_nothing_covers_proc(world: World) -> None:
    """CVE-2023-28642, CVE-2025-52881: settings written into a /proc of the attacker's."""
    for place in ("/proc", "/proc/self/attr", "/tmp/../proc", "//proc/", "/"):
        one = pod(shell("main", "true", volume_mounts=(VolumeMount(name="v", mount_path=place),)))
        await world.start_sandbox(one)
        with pytest.raises(RuntimeFailure, match="cannot mount a volume at"):
            await world.engine.start_container(world.request(one, "main", volumes={"v": world.root}))


async def test_device_nodes_of_an_image_do_not_open(world: World, layer: Path) -> None:
    os.mknod(layer / "disk", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (layer / "disk").chmod(0o666)
    _, output = await world.run("head -c 1 /disk | wc -c; head -c 1 /dev/zero | wc -c", image=world.image(layer))
    assert "can't open" in output or "Permission denied" in output
    assert output.split()[-1] == "1"


async def test_device_nodes_cannot_be_made(world: World) -> None:
    script = "for d in /tmp /dev /dev/shm; do mknod $d/x c 1 5; done; find / -xdev -name x; ls /dev/x /dev/shm/x"
    _, output = await world.run(f"{script}; true")
    assert output.count("Operation not permitted") == 3


async def test_capabilities_are_never_inheritable(world: World) -> None:
    """CVE-2022-24769: file capabilities give what was inheritable."""
    for context in (SecurityContext(), SecurityContext(capabilities_add=("ALL",)), SecurityContext(run_as_user=5)):
        _, output = await world.run("grep -E 'CapInh|CapAmb' /proc/self/status", security_context=context)
        assert output.split()[1::2] == ["0" * 16, "0" * 16]


async def test_no_group_of_the_host_is_kept(world: World) -> None:
    """CVE-2022-36109, CVE-2022-2989."""
    before = os.getgroups()
    os.setgroups([4242, 4243])
    try:
        for user, groups in (("", "0"), ("7", "0"), ("7:8", "8")):
            _, output = await world.run("id -G", image=world.image(user=user))
            assert output.strip() == groups
    finally:
        os.setgroups(before)


async def test_the_environment_is_the_containers_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2026-57231: entries without a value would be filled from our own environment."""
    monkeypatch.setenv("NSRUN_SECRET", "host")
    entries = ("PATH=/bin", "HOME", "NSRUN_SECRET", "*", "=x", "", "GOOD=1")
    _, output = await world.run("env", image=world.image(env=entries), env=(EnvVar(name="MINE", value="2"),))
    names = {line.split("=")[0] for line in output.splitlines()}
    assert names == {"PATH", "HOSTNAME", "HOME", "GOOD", "MINE", "PWD", "SHLVL"}
    assert "host" not in output


@pytest.mark.parametrize(
    "user", ["4294967296", "2147483648", "-1", "1000abc", "+0", "0x0", "1000:", ":5", "a:b:c", "٣"]
)
async def test_users_that_are_no_users(world: World, user: str) -> None:
    """CVE-2024-40635, CVE-2026-30892: ids that wrap, or end in junk, must not become root."""
    one = pod(shell("main", "id -u"))
    with pytest.raises(RuntimeFailure) as caught:
        await world.start(one, image=world.image(user=user))
    assert caught.value.reason == "CreateContainerConfigError"


async def test_run_as_non_root_is_asked_at_every_start(world: World) -> None:
    """CVE-2019-11245."""
    one = pod(shell("main", "true", security_context=SecurityContext(run_as_non_root=True)))
    good, bad = world.image(user="1000"), world.image(user="0")
    started = await world.start(one, image=good)
    assert (await world.end(started.id)).code == 0
    with pytest.raises(RuntimeFailure, match="image will run as root"):
        await world.start(one, image=bad, attempt=1)


async def test_the_kernels_settings_are_out_of_reach(world: World) -> None:
    """core_pattern, sysrq, uevent_helper, cgroups: each would run, or stop, something on the host."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    files = "/proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper /proc/irq/default_smp_affinity"
    script = f"""
    for f in {files} $(find /sys/fs/cgroup -name cgroup.procs) $(find /sys/fs/cgroup -name release_agent); do
        [ -e $f ] && (echo 0 > $f) 2>/dev/null && echo "WROTE $f"
    done
    for d in /sys/fs/cgroup $(find /sys/fs/cgroup -maxdepth 1 -mindepth 1 -type d); do
        mkdir $d/x 2>/dev/null && echo "MADE $d/x"
    done
    mount -o remount,rw /proc/sys 2>/dev/null && echo REMOUNTED
    mount -o remount,rw /sys 2>/dev/null && echo REMOUNTED
    umount /proc/keys 2>/dev/null && echo UNMASKED
    true
    """
    code, output = await world.run(script)
    assert (code, output) == (0, "")
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


async def test_what_shows_the_kernel_is_read_only(world: World) -> None:
    """Each mount by its own attribute, so that none depends on another that covers it."""
    _, output = await world.run("cat /proc/self/mountinfo")
    seen = 0
    for line in output.splitlines():
        fields, kind = line.split(), line.partition(" - ")[2].split()[0]
        if kind in ("sysfs", "cgroup", "cgroup2") or (kind == "proc" and fields[3] != "/"):
            seen += 1
            assert "ro" in fields[5].split(","), line
    assert seen >= 4


async def test_even_with_every_capability_the_cgroup_view_ends_at_its_own(world: World) -> None:
    context = SecurityContext(capabilities_add=("ALL",))
    _, output = await world.run("cat /proc/self/cgroup; ls /proc/1/cgroup", security_context=context)
    paths = {line.split(":", 2)[2] for line in output.splitlines() if line.count(":") >= 2}
    ours = {path for path in paths if "uid-" in path or "nsrun" in path}
    assert ours == set()


async def test_new_namespaces_cannot_be_made(world: World) -> None:
    """CVE-2022-0492, CVE-2022-0185: a user namespace would give back every capability."""
    script = "for c in 'unshare -U' 'unshare -m' 'mount -t tmpfs x /tmp'; do $c 2>&1 || echo refused; done"
    _, output = await world.run(script)
    assert output.count("refused") == 3


async def test_the_shim_cannot_be_overwritten(world: World) -> None:
    """CVE-2019-5736: ``/proc/self/exe``, before the exec, is the shim's own program."""
    before = hashlib.sha256(Programs().shim.read_bytes()).hexdigest()
    one = pod(container("main", "/proc/self/exe", "x"), container("script", "/evil"))
    started = await world.start(one)
    program = os.open(f"/proc/{started.pid}/exe", os.O_PATH)
    try:
        assert os.readlink(f"/proc/self/fd/{program}").startswith("/memfd:nsrun-shim")
        await world.engine.kill(started.id)
        await world.end(started.id)
        for flags in (os.O_WRONLY, os.O_WRONLY | os.O_TRUNC):
            with pytest.raises(OSError):
                os.write(os.open(f"/proc/self/fd/{program}", flags), b"evil")
    finally:
        os.close(program)
    assert hashlib.sha256(Programs().shim.read_bytes()).hexdigest() == before


async def test_nobody_can_look_into_a_process_that_is_being_set_up(world: World) -> None:
    """CVE-2016-9962: no process of the pod sees another container's, and the pause process is in no container's
    view."""
    one = pod(shell("a", "sleep 1000"), shell("b", "ls -d /proc/[0-9]*; readlink /proc/1/ns/pid"))
    await world.start(one, "a")
    b = await world.start(one, "b")
    assert (await world.end(b.id)).code == 0
    seen = [line for line in world.output(one, b.id).splitlines() if line.startswith("/proc/")]
    assert len(seen) <= 2


async def test_no_socket_of_ours_is_in_reach(world: World) -> None:
    """CVE-2020-15257: an abstract socket would be."""
    _, output = await world.run("cat /proc/net/unix")
    assert "nsrun" not in output
    assert "shim" not in output
    one = pod(shell("main", "sleep 1000"))
    await world.start(one)
    shim = world.layout.shim_socket(one.uid)
    assert stat.S_IMODE(shim.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(shim.parent.stat().st_mode) == 0o700


async def test_what_a_container_wrote_is_private(world: World) -> None:
    """CVE-2021-41103: a setuid program in an upper layer, in reach of the host's users."""
    one = pod(shell("main", "cp /bin/busybox /x; chmod 4755 /x; echo done; sleep 1000"))
    started = await world.start(one)
    eventually(lambda: "done" in world.output(one, started.id))
    directory = world.layout.container(one.uid, "main", 0)
    assert (directory / "upper" / "x").stat().st_mode & stat.S_ISUID
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_labels_and_annotations_give_nothing(world: World) -> None:
    """CVE-2024-3154, CVE-2026-53488: privilege comes from the manifest's own fields only."""
    labels = {
        "io.kubernetes.cri.container-type": "sandbox",
        "org.systemd.property.ExecStartPre": "x",
        "run.oci.hooks.stdout": "/etc/passwd",
        "io.podman.annotations.privileged": "TRUE",
    }
    one = pod(shell("main", "grep CapEff /proc/self/status"))
    started = await world.start(one, image=world.image(labels=labels))
    await world.end(started.id)
    assert "800405fb" in world.output(one, started.id)
    config = (world.layout.container_run(one.uid, "main", 0) / "config.json").read_text()
    assert "systemd" not in config
    assert "hooks" not in config
    assert "privileged" not in config


async def test_pause_can_do_nothing(world: World) -> None:
    one = pod(shell("main", "true"))
    sandbox = await world.start_sandbox(one)
    text = Path(f"/proc/{sandbox.pause_pid}/status").read_text()
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert status[name].strip() == "0" * 16
    assert status["Uid"].split() == ["65535"] * 4
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    root = Path(f"/proc/{sandbox.pause_pid}/root")
    assert sorted(os.listdir(root)) == ["dev"]
    with pytest.raises(OSError):
        (root / "x").touch()
    assert os.listdir(f"/proc/{sandbox.pause_pid}/fd") == ["0", "1", "2"]
