"""How containers see volumes: parts of them, read-only ones, images, and mounts that come later."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.model.container import SecurityContext
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerId, PreparedVolume
from nsrun.model.volume import MountPropagation, RecursiveReadOnly
from nsrun.support import native
from tests.system.runtime.world import NO_APP_ARMOR, VolumeMount, World, pod, shell
from tests.waiting import eventually

pytestmark = pytest.mark.root

MOUNTING = SecurityContext(capabilities_add=("SYS_ADMIN",), app_armor_profile=NO_APP_ARMOR)


@pytest.fixture
def volume(world: World) -> Path:
    path = world.root / "volume"
    path.mkdir()
    return path


@pytest.fixture
def shared(world: World) -> Iterator[Path]:
    """A volume on a file system of its own, which propagates mounts."""
    path = world.root / "shared"
    path.mkdir()
    native.mount("tmpfs", str(path), "tmpfs")
    native.mount("none", str(path), "none", native.MS_SHARED)
    yield path
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split()[4].startswith(str(path)):
            native.umount(line.split()[4], native.MNT_DETACH)


# --- subPath


async def test_parts_of_a_volume(world: World, volume: Path) -> None:
    (volume / "dir" / "deep").mkdir(parents=True)
    (volume / "dir" / "deep" / "file").write_text("deep\n")
    (volume / "file").write_text("file\n")
    (volume / "link").symlink_to("dir/deep")
    mounts = (
        VolumeMount(name="v", mount_path="/deep", sub_path="dir/deep"),
        VolumeMount(name="v", mount_path="/one", sub_path="file"),
        VolumeMount(name="v", mount_path="/linked", sub_path="link"),
        VolumeMount(name="v", mount_path="/dotted", sub_path="./dir//deep/"),
    )
    script = "cat /deep/file /one /linked/file /dotted/file; echo new > /deep/new; ls /deep"
    assert await world.run(script, volume_mounts=mounts, volumes={"v": volume}) == (
        0,
        "deep\nfile\ndeep\ndeep\nfile\nnew\n",
    )
    assert (volume / "dir" / "deep" / "new").read_text() == "new\n"


async def test_a_missing_part_is_made_as_open_as_the_volume(world: World, volume: Path) -> None:
    os.chown(volume, -1, 4242)
    volume.chmod(0o2771)
    mounts = (VolumeMount(name="v", mount_path="/x", sub_path="a/b"),)
    code, _ = await world.run("touch /x/file", volume_mounts=mounts, volumes={"v": volume})
    assert code == 0
    for made in (volume / "a", volume / "a" / "b"):
        assert (stat.S_IMODE(made.stat().st_mode), made.stat().st_gid) == (0o2771, 4242)
    assert (volume / "a" / "b" / "file").exists()


@pytest.mark.parametrize(
    ("sub_path", "cause"),
    [
        ("out", "it leads out of the volume"),
        ("up", "it leads out of the volume"),
        ("out/made", "it leads out of the volume"),
        ("file/x", "not a directory (ENOTDIR)"),
        ("loop", "too many levels of symbolic links (ELOOP)"),
        ("nowhere/x", "no such file or directory (ENOENT)"),
    ],
)
async def test_what_is_no_part_of_a_volume_is_refused(world: World, volume: Path, sub_path: str, cause: str) -> None:
    (volume / "out").symlink_to("/run")
    (volume / "up").symlink_to("..")
    (volume / "loop").symlink_to("loop")
    (volume / "nowhere").symlink_to("gone")
    (volume / "file").touch()
    mounts = (VolumeMount(name="v", mount_path="/x", sub_path=sub_path),)
    with pytest.raises(RuntimeFailure) as raised:
        await world.run("true", volume_mounts=mounts, volumes={"v": volume})
    assert f'cannot prepare subPath "{sub_path}" for volumeMount "v" of container "main": {cause}' in str(raised.value)
    assert raised.value.reason == "CreateContainerConfigError"
    assert "made" not in os.listdir("/run")


async def test_nothing_is_made_in_a_volume_that_is_read_only(world: World, volume: Path) -> None:
    given = PreparedVolume(name="v", path=str(volume), read_only=True)
    mounts = (VolumeMount(name="v", mount_path="/x", sub_path="missing"),)
    with pytest.raises(RuntimeFailure, match="no such file"):
        await world.run("true", volume_mounts=mounts, volumes={"v": given})
    assert os.listdir(volume) == []


# --- read-only


@pytest.mark.parametrize(
    ("mount_says", "volume_says", "recursive", "refused"),
    [
        (False, False, RecursiveReadOnly.DISABLED, []),
        (True, False, RecursiveReadOnly.DISABLED, ["top"]),
        (False, True, RecursiveReadOnly.DISABLED, ["top"]),
        (True, False, RecursiveReadOnly.IF_POSSIBLE, ["top", "below"]),
        (True, False, RecursiveReadOnly.ENABLED, ["top", "below"]),
    ],
)
async def test_read_only_as_deep_as_is_asked(
    world: World, shared: Path, mount_says: bool, volume_says: bool, recursive: RecursiveReadOnly, refused: list[str]
) -> None:
    (shared / "below").mkdir()
    native.mount("tmpfs", str(shared / "below"), "tmpfs")
    given = PreparedVolume(name="v", path=str(shared), read_only=volume_says)
    mounts = (VolumeMount(name="v", mount_path="/x", read_only=mount_says, recursive_read_only=recursive),)
    script = "touch /x/f 2>/dev/null || echo top; touch /x/below/f 2>/dev/null || echo below; true"
    assert await world.run(script, volume_mounts=mounts, volumes={"v": given}) == (
        0,
        "".join(f"{line}\n" for line in refused),
    )


# --- images


@pytest.mark.parametrize("count", [1, 2])
async def test_an_image_is_shown_read_only_and_harmless(world: World, count: int) -> None:
    lower, upper = world.root / "lower", world.root / "upper"
    for layer, text in ((lower, "lower"), (upper, "upper")):
        (layer / "dir").mkdir(parents=True)
        (layer / "dir" / text).write_text(f"{text}\n")
        (layer / "both").write_text(f"{text}\n")
    (upper / "program").write_text("#!/bin/sh\necho ran\n")
    (upper / "program").chmod(0o4755)
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (upper / "absolute").symlink_to("/dir")
    layers = (str(upper), str(lower))[:count]
    mounts = (
        VolumeMount(name="v", mount_path="/image"),
        VolumeMount(name="v", mount_path="/part", sub_path="dir"),
        VolumeMount(name="v", mount_path="/file", sub_path="both"),
        VolumeMount(name="v", mount_path="/linked", sub_path="absolute"),
    )
    script = (
        "cat /image/both /file; ls /part; ls /linked; /image/program 2>/dev/null || echo noexec; "
        "cat /image/null 2>/dev/null || echo nodev; touch /image/x 2>/dev/null || echo ro; grep ' /image ' /proc/mounts"
    )
    code, output = await world.run(
        script, volume_mounts=mounts, volumes={"v": PreparedVolume(name="v", layers=layers, read_only=True)}
    )
    lines = output.splitlines()
    names = ["lower", "upper"] if count == 2 else ["upper"]
    assert (code, lines[:-1]) == (0, ["upper", "upper", *names, *names, "noexec", "nodev", "ro"])
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(lines[-1].split()[3].split(","))
    assert sorted(path.name for path in upper.rglob("*")) == sorted(
        ["dir", "upper", "both", "program", "null", "absolute"]
    )


async def test_a_part_that_the_image_does_not_have(world: World) -> None:
    mounts = (VolumeMount(name="v", mount_path="/x", sub_path="no/such"),)
    empty = world.root / "empty"
    empty.mkdir()
    for layers in ((str(world.busybox),), (str(empty), str(world.busybox))):
        with pytest.raises(RuntimeFailure, match=r'cannot mount the image of volume "v" at "/x": no such file'):
            await world.run(
                "true", volume_mounts=mounts, volumes={"v": PreparedVolume(name="v", layers=layers, read_only=True)}
            )


# --- propagation

WAITS = "until [ -e /x/below/arrived ]; do sleep 0.02; done; echo seen"


async def test_mounts_of_the_host_arrive_where_that_is_asked(world: World, shared: Path) -> None:
    (shared / "below").mkdir()
    asked = (VolumeMount(name="v", mount_path="/x", propagation=MountPropagation.HOST_TO_CONTAINER),)
    plain = (VolumeMount(name="v", mount_path="/x"),)
    one = pod(
        shell("main", WAITS, volume_mounts=asked),
        shell("other", "sleep 1000", volume_mounts=plain),
    )
    running = await world.start(one, volumes={"v": shared})
    other = await world.start(one, "other", volumes={"v": shared})
    native.mount("tmpfs", str(shared / "below"), "tmpfs")
    (shared / "below" / "arrived").touch()
    assert (await world.end(running.id)).code == 0
    assert world.output(one, running.id) == "seen\n"
    assert not Path(f"/proc/{other.pid}/root/x/below/arrived").exists()


async def test_mounts_of_a_container_stay_in_it_unless_that_is_asked(world: World, shared: Path) -> None:
    """A slave sees the host's and keeps its own; so does a private one."""
    (shared / "below").mkdir()
    script = "mount -t tmpfs tmpfs /x/below && touch /x/below/arrived && echo mounted; sleep 1000"
    for number, propagation in enumerate((MountPropagation.HOST_TO_CONTAINER, MountPropagation.NONE)):
        mounts = (VolumeMount(name="v", mount_path="/x", propagation=propagation),)
        one = pod(shell("main", script, volume_mounts=mounts, security_context=MOUNTING), name=f"p{number}")
        running = await world.start(one, volumes={"v": shared})
        eventually(partial(_has_said, world, one, running.id, "mounted\n"))
        assert os.listdir(shared / "below") == []


def _has_said(world: World, one: Pod, id: ContainerId, text: str) -> bool:
    return world.output(one, id) == text


async def test_mounts_of_a_container_arrive_at_the_host_and_at_others(world: World, shared: Path) -> None:
    (shared / "below").mkdir()
    both = (VolumeMount(name="v", mount_path="/x", propagation=MountPropagation.BIDIRECTIONAL),)
    slave = (VolumeMount(name="v", mount_path="/x", propagation=MountPropagation.HOST_TO_CONTAINER),)
    script = "mount -t tmpfs tmpfs /x/below && touch /x/below/arrived; sleep 1000"
    one = pod(
        shell("main", script, volume_mounts=both, security_context=MOUNTING),
        shell("other", WAITS, volume_mounts=slave),
    )
    waiting = await world.start(one, "other", volumes={"v": shared})
    await world.start(one, volumes={"v": shared})
    assert (await world.end(waiting.id)).code == 0
    assert os.listdir(shared / "below") == ["arrived"]
    assert str(world.layout.stage) not in Path("/proc/self/mountinfo").read_text()


async def test_a_part_of_a_volume_propagates_too(world: World, shared: Path) -> None:
    mounts = (VolumeMount(name="v", mount_path="/x", sub_path="part", propagation=MountPropagation.HOST_TO_CONTAINER),)
    (shared / "part" / "below").mkdir(parents=True)
    one = pod(shell("main", WAITS, volume_mounts=mounts))
    running = await world.start(one, volumes={"v": shared})
    native.mount("tmpfs", str(shared / "part" / "below"), "tmpfs")
    (shared / "part" / "below" / "arrived").touch()
    assert (await world.end(running.id)).code == 0


@pytest.mark.parametrize(
    ("propagation", "kind"),
    [(MountPropagation.HOST_TO_CONTAINER, "shared or slave"), (MountPropagation.BIDIRECTIONAL, "shared")],
)
async def test_where_nothing_could_propagate_that_is_told(
    world: World, volume: Path, propagation: MountPropagation, kind: str
) -> None:
    """As on a host without systemd."""
    mounts = (VolumeMount(name="v", mount_path="/x", propagation=propagation),)
    native.mount("tmpfs", str(volume), "tmpfs")
    try:
        native.mount("none", str(volume), "none", native.MS_PRIVATE)
        with pytest.raises(RuntimeFailure, match=f'"{volume}" is not a {kind} mount') as raised:
            await world.run("true", volume_mounts=mounts, volumes={"v": volume})
    finally:
        native.umount(str(volume))
    assert raised.value.hint == f'mount --make-rshared "{volume}"'
