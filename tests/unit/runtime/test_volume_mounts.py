"""Volume mounts as an OCI configuration tells them."""

from __future__ import annotations

import pytest

from nsrun.model.running import PreparedVolume
from nsrun.model.volume import MountPropagation, RecursiveReadOnly, VolumeMount
from nsrun.runtime.volume_mounts import volume_mount

P, R = MountPropagation, RecursiveReadOnly


def options(asked: VolumeMount, *, read_only: bool = False) -> list[str]:
    return volume_mount(asked, PreparedVolume(name="v", path="/host", read_only=read_only), "/here")["options"]


@pytest.mark.parametrize(
    ("propagation", "word"), [(P.NONE, "rprivate"), (P.HOST_TO_CONTAINER, "rslave"), (P.BIDIRECTIONAL, "rshared")]
)
def test_propagation(propagation: MountPropagation, word: str) -> None:
    assert options(VolumeMount(name="v", mount_path="/x", propagation=propagation)) == ["rbind", word, "rw"]


@pytest.mark.parametrize(
    ("mount", "volume", "recursive", "word"),
    [
        (False, False, R.DISABLED, "rw"),
        (True, False, R.DISABLED, "ro"),
        (False, True, R.DISABLED, "ro"),
        (True, False, R.IF_POSSIBLE, "rro"),
        (True, False, R.ENABLED, "rro"),
        (False, False, R.ENABLED, "rw"),
    ],
)
def test_read_only(mount: bool, volume: bool, recursive: RecursiveReadOnly, word: str) -> None:
    asked = VolumeMount(name="v", mount_path="/x", read_only=mount, recursive_read_only=recursive)
    assert options(asked, read_only=volume)[-1] == word


def test_a_part_of_a_volume() -> None:
    asked = VolumeMount(name="v", mount_path="/x", sub_path="a/b")
    found = volume_mount(asked, PreparedVolume(name="v", path="/host"), "/here")
    assert (found["type"], found["source"], found["destination"]) == ("bind", "/host/a/b", "/here")


def test_layers_of_an_image() -> None:
    found = volume_mount(VolumeMount(name="v", mount_path="/x"), PreparedVolume(name="v", layers=("/b", "/a")), "/here")
    assert (found["type"], found["options"]) == ("overlay", ["lowerdir=/b:/a", "ro", "nosuid", "nodev", "noexec"])
