"""Claims and volumes: who gets what."""

from __future__ import annotations

import pytest

from nsrun.errors import VolumeError
from nsrun.model.objects import Claim, PersistentVolume
from nsrun.model.quantity import parse_quantity
from nsrun.volumes.binding import choose_volume, named_volume
from nsrun.volumes.podman import podman_device, podman_owner

RWO, RWX = "ReadWriteOnce", "ReadWriteMany"


def claim(size: str = "1Gi", *, modes: tuple[str, ...] = (RWO,), storage_class: str = "", volume: str = "") -> Claim:
    return Claim(
        namespace="default",
        name="data",
        request=parse_quantity(size),
        access_modes=modes,
        storage_class=storage_class,
        volume_name=volume,
    )


def podman(**said: str) -> Claim:
    annotations = {f"volume.podman.io/{key.replace('_', '-')}": value for key, value in said.items()}
    return Claim(namespace="default", name="data", annotations=annotations)


def volume(
    name: str,
    size: str = "1Gi",
    *,
    modes: tuple[str, ...] = (RWO,),
    storage_class: str = "",
    of: tuple[str, str] | None = None,
) -> PersistentVolume:
    return PersistentVolume(
        name=name,
        path="/x",
        capacity=parse_quantity(size),
        access_modes=modes,
        storage_class=storage_class,
        claim=of,
    )


def by_name(*volumes: PersistentVolume) -> dict[str, PersistentVolume]:
    return {found.name: found for found in volumes}


def chosen(asked: Claim, *volumes: PersistentVolume, taken: frozenset[str] = frozenset()) -> str | None:
    found = choose_volume(asked, by_name(*volumes), taken)
    return found.name if found is not None else None


def test_the_smallest_that_fits() -> None:
    assert chosen(claim("2Gi"), volume("small"), volume("huge", "10Gi"), volume("big", "3Gi")) == "big"
    assert chosen(claim(), volume("b"), volume("a")) == "a"
    assert chosen(claim("2Gi"), volume("small")) is None
    unsized = PersistentVolume(name="unsized", path="/x", access_modes=(RWO,))
    assert chosen(claim(), unsized) is None
    assert chosen(Claim(namespace="default", name="data"), unsized) == "unsized"


def test_class_and_modes_must_fit() -> None:
    assert chosen(claim(storage_class="fast"), volume("plain"), volume("fast", storage_class="fast")) == "fast"
    assert chosen(claim(), volume("fast", storage_class="fast")) is None
    assert chosen(claim(modes=(RWX,)), volume("once"), volume("many", modes=(RWO, RWX))) == "many"


def test_what_others_have_is_not_chosen() -> None:
    assert chosen(claim(), volume("a"), volume("b"), taken=frozenset({"a"})) == "b"
    assert chosen(claim(), volume("a", of=("default", "other"))) is None


def test_volumes_that_the_manifests_bind() -> None:
    mine, theirs, free = volume("mine", of=("default", "data")), volume("theirs", of=("x", "data")), volume("free")
    every = by_name(mine, theirs, free)
    assert named_volume(claim(), every, frozenset()) is mine
    assert named_volume(claim("2Gi"), every, frozenset()) is None
    assert named_volume(claim(volume="free"), every, frozenset()) is free
    assert named_volume(claim(volume="mine"), every, frozenset()) is mine
    for name, taken in (("theirs", frozenset()), ("free", frozenset({"free"}))):
        with pytest.raises(VolumeError, match=f'volume "{name}" already bound to a different claim'):
            named_volume(claim(volume=name), every, frozenset(taken))
    with pytest.raises(VolumeError, match='persistentvolume "none" not found'):
        named_volume(claim(volume="none"), every, frozenset())


def test_podman_s_directories_and_owners() -> None:
    assert podman_device(podman()) is None
    assert podman_device(podman(driver="local")) is None
    assert podman_device(podman(device="/srv", type="none", mount_options="bind")) == "/srv"
    assert podman_device(podman(device="/srv", mount_options="rbind,rw")) == "/srv"
    assert podman_owner(podman()) is None
    assert podman_owner(podman(uid="1000", gid="100")) == (1000, 100)
    assert podman_owner(podman(gid="100")) == (0, 100)


@pytest.mark.parametrize(
    "annotations",
    [
        {"driver": "image"},
        {"device": "/dev/sdb1", "type": "ext4"},
        {"device": "tmpfs", "type": "tmpfs"},
        {"mount_options": "size=1m"},
        {"device": "/srv", "mount_options": "bind,noexec"},
        {"import_source": "/data.tar"},
    ],
)
def test_podman_s_words_that_would_mean_other_data_are_refused(annotations: dict[str, str]) -> None:
    with pytest.raises(VolumeError, match="cannot be honoured"):
        podman_device(podman(**annotations))


@pytest.mark.parametrize("text", ["", "-1", "root", "1.5", "2147483648", "²"])
def test_an_owner_is_a_number(text: str) -> None:
    with pytest.raises(VolumeError, match="is no number"):
        podman_owner(podman(uid=text))
