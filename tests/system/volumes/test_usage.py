"""What emptyDirs take on their disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.model.pod import Pod
from nsrun.model.volume import EmptyDir, EmptyDirMedium, HostPath, Volume
from nsrun.support.layout import Layout
from nsrun.volumes.service import VolumeService
from tests.unit.runtime.pods import pod
from tests.unit.volumes.world import MIB, prepare

pytestmark = pytest.mark.root


def several(tmp_path: Path) -> Pod:
    return pod(
        volumes=(
            Volume(name="disk", source=EmptyDir()),
            Volume(name="idle", source=EmptyDir()),
            Volume(name="memory", source=EmptyDir(medium=EmptyDirMedium.MEMORY)),
            Volume(name="host", source=HostPath(path=str(tmp_path))),
        )
    )


async def test_each_empty_dir_on_disk_is_measured(service: VolumeService, tmp_path: Path) -> None:
    wanted = several(tmp_path)
    assert await service.usage(wanted) == {"disk": 0, "idle": 0}
    disk = Path((await prepare(service, wanted))["disk"].path)
    idle = (await service.usage(wanted))["idle"]
    (disk / "sub").mkdir()
    (disk / "sub" / "file").write_bytes(b"x" * MIB)
    (disk / "again").hardlink_to(disk / "sub" / "file")
    (disk / "link").symlink_to("/")
    used = await service.usage(wanted)
    assert used.keys() == {"disk", "idle"}
    assert MIB <= used["disk"] < 2 * MIB
    assert used["idle"] == idle < MIB


async def test_what_cannot_be_measured_is_told(
    service: VolumeService, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> int:
        raise PermissionError(13, "permission denied", str(path))

    monkeypatch.setattr("nsrun.volumes.service.disk_usage", refuse)
    with pytest.raises(VolumeError, match=r'cannot measure volume "disk": ".*/disk": permission denied'):
        await service.usage(several(tmp_path))
    assert not layout.pods.exists()
