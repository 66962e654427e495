"""Claims: whose directory, how long, and what is bound to what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.model.objects import Objects, PersistentVolume
from nsrun.model.security import PodSecurityContext
from nsrun.model.volume import ClaimVolume, HostPathType
from nsrun.support import native
from nsrun.support.layout import Layout
from nsrun.volumes.service import VolumeService
from tests.unit.volumes.world import claims, mode, pod_with, prepare, volume_service

pytestmark = pytest.mark.root

DATA = ClaimVolume(claim_name="data")


async def path_of(service: VolumeService, known: Objects, *, claim: str = "data", uid: str = "uid-1") -> Path:
    prepared = await prepare(service, pod_with(ClaimVolume(claim_name=claim), uid=uid), known)
    return Path(prepared["data"].path)


def volume(name: str, path: Path, **fields: object) -> PersistentVolume:
    return PersistentVolume(name=name, path=str(path), **fields)  # type: ignore[arg-type]


async def test_a_claim_has_a_directory_of_its_own(service: VolumeService, layout: Layout) -> None:
    path = await path_of(service, claims("data"))
    assert path == layout.claim("default", "data")
    assert (mode(path), mode(path.parent)) == (0o777, 0o700)


async def test_it_outlives_pods_and_nsrun(service: VolumeService, layout: Layout) -> None:
    path = await path_of(service, claims("data"))
    (path / "file").write_text("kept")
    await service.remove("uid-1")
    later = volume_service(layout)
    assert await path_of(later, claims("data"), uid="uid-2") == path
    assert (path / "file").read_text() == "kept"


async def test_it_goes_with_its_manifest_when_no_pod_has_it(service: VolumeService, layout: Layout) -> None:
    mine = await path_of(service, claims("data", "other"))
    theirs = await path_of(service, claims("data", "other"), claim="other", uid="uid-2")
    (mine / "sub").mkdir()
    (mine / "sub" / "file").touch()
    await service.delete_claims([("default", "other")])
    assert theirs.exists()  # a pod has it
    await service.remove("uid-2")
    await service.delete_claims([("default", "other")])
    assert sorted(os.listdir(layout.claims)) == ["default_data"]
    await service.remove("uid-1")
    await service.delete_claims([("default", "data")])
    assert os.listdir(layout.claims) == []


async def test_only_those_that_are_named_go(service: VolumeService, layout: Layout) -> None:
    await path_of(service, claims("data"))
    await service.remove("uid-1")
    await service.delete_claims([("other", "data"), ("default", "dat"), ("default", "data2")])
    assert os.listdir(layout.claims) == ["default_data"]


async def test_nothing_to_delete_is_no_mistake(service: VolumeService) -> None:
    await service.delete_claims([("default", "data")])


async def test_a_pod_whose_claim_is_not_there_waits(service: VolumeService) -> None:
    with pytest.raises(VolumeError) as raised:
        await path_of(service, Objects())
    assert str(raised.value) == 'cannot mount volume "data": persistentvolumeclaim "data" not found'
    assert raised.value.hint == "put a PersistentVolumeClaim default/data beside the Pod's manifest"


async def test_a_pod_that_has_it_keeps_it_when_the_manifest_goes(service: VolumeService) -> None:
    path = await path_of(service, claims("data"))
    await service.delete_claims([("default", "data")])
    assert await path_of(service, Objects()) == path
    assert path.is_dir()


async def test_what_was_half_deleted_is_deleted(service: VolumeService, layout: Layout) -> None:
    await path_of(service, claims("data"))
    (layout.claims / ".gone-1").mkdir()
    (layout.claims / ".gone-1" / "file").touch()
    (layout.claims / ".default_x.new").mkdir()
    await service.delete_claims([("default", "data")])
    assert os.listdir(layout.claims) == ["default_data"]


async def test_what_is_mounted_in_it_is_not_deleted(service: VolumeService, layout: Layout, tmp_path: Path) -> None:
    path = await path_of(service, claims("data"))
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "file").write_text("the host's")
    (path / "mounted").mkdir()
    native.mount(str(tmp_path / "host"), str(path / "mounted"), "none", native.MS_BIND)
    await service.remove("uid-1")
    await service.delete_claims([("default", "data")])
    assert os.listdir(layout.claims) == []
    assert (tmp_path / "host" / "file").read_text() == "the host's"


async def test_only_one_pod_where_the_claim_says_so(service: VolumeService) -> None:
    known = claims("data", access_modes=("ReadWriteOncePod",))
    await path_of(service, known)
    await path_of(service, known)
    with pytest.raises(VolumeError, match="ReadWriteOncePod, and another pod has it"):
        await path_of(service, known, uid="uid-2")
    await service.remove("uid-1")
    await path_of(service, known, uid="uid-2")


# --- persistent volumes


async def test_a_volume_that_fits_is_taken_once_and_for_all(
    service: VolumeService, layout: Layout, tmp_path: Path
) -> None:
    one, two = volume("one", tmp_path / "one"), volume("two", tmp_path / "two")
    every = claims("a", "b", "c", volumes=(one, two))
    assert await path_of(service, every, claim="b", uid="uid-b") == tmp_path / "one"
    assert await path_of(service, every, claim="a", uid="uid-a") == tmp_path / "two"
    assert await path_of(service, every, claim="c", uid="uid-c") == layout.claim("default", "c")
    for uid in ("uid-a", "uid-b", "uid-c"):
        await service.remove(uid)
    later = volume_service(layout)
    assert await path_of(later, every, claim="a", uid="uid-a") == tmp_path / "two"
    assert await path_of(later, every, claim="b", uid="uid-b") == tmp_path / "one"


async def test_content_of_a_volume_stays_when_its_claim_goes(service: VolumeService, tmp_path: Path) -> None:
    known = claims("data", volumes=(volume("one", tmp_path / "one"),))
    (await path_of(service, known) / "file").write_text("kept")
    await service.remove("uid-1")
    await service.delete_claims([("default", "data")])
    assert (tmp_path / "one" / "file").read_text() == "kept"
    assert (
        await path_of(service, claims("other", volumes=(volume("one", tmp_path / "one"),)), claim="other")
        == tmp_path / "one"
    )


async def test_a_claim_with_content_is_not_bound_elsewhere_later(
    service: VolumeService, layout: Layout, tmp_path: Path
) -> None:
    path = await path_of(service, claims("data"))
    assert await path_of(service, claims("data", volumes=(volume("one", tmp_path / "one"),))) == path
    with pytest.raises(VolumeError, match="has a directory of its own already"):
        await path_of(service, claims("data", volumes=(volume("one", tmp_path / "one"),), volume_name="one"))


async def test_a_volume_that_is_gone_is_told(service: VolumeService, tmp_path: Path) -> None:
    await path_of(service, claims("data", volumes=(volume("one", tmp_path / "one"),)))
    with pytest.raises(VolumeError, match='persistentvolume "one" not found'):
        await path_of(service, claims("data"))


async def test_host_paths_are_checked_and_local_ones_must_be_there(service: VolumeService, tmp_path: Path) -> None:
    wrong = volume("one", tmp_path / "one", type=HostPathType.DIRECTORY)
    with pytest.raises(VolumeError, match=r'volume "data": hostPath type check failed: .* is not a dir'):
        await path_of(service, claims("data", volumes=(wrong,)))
    local = volume("one", tmp_path / "one", local=True)
    with pytest.raises(VolumeError, match=r'path ".*" of persistentvolume "one" does not exist'):
        await path_of(service, claims("data", volumes=(local,)))


@pytest.mark.parametrize(("local", "gid"), [(True, 4242), (False, os.getegid())])
async def test_the_pod_s_group_owns_local_volumes_and_no_host_path(
    service: VolumeService, tmp_path: Path, local: bool, gid: int
) -> None:
    (tmp_path / "one").mkdir()
    known = claims("data", volumes=(volume("one", tmp_path / "one", local=local),))
    await prepare(service, pod_with(DATA, security=PodSecurityContext(fs_group=4242)), known)
    assert (tmp_path / "one").stat().st_gid == gid


# --- podman's annotations


async def test_podman_s_owner_and_directory(service: VolumeService, tmp_path: Path) -> None:
    owned = claims("data", annotations={"volume.podman.io/uid": "1000", "volume.podman.io/gid": "100"})
    path = await path_of(service, owned)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1000, 100, 0o755)
    said = {"device": str(tmp_path / "bound"), "type": "none", "mount-options": "bind"}
    bound = claims("bound", annotations={f"volume.podman.io/{key}": value for key, value in said.items()})
    assert await path_of(service, bound, claim="bound", uid="uid-2") == tmp_path / "bound"
