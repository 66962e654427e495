"""What of /dev a privileged container is given."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nsrun.runtime.host_devices import host_devices

pytestmark = pytest.mark.root


def test_devices_with_their_owners_and_modes(tmp_path: Path) -> None:
    for directory in ("net", "pts", "shm", "mqueue", "a/b"):
        (tmp_path / directory).mkdir(parents=True)
    nodes = {
        "null": (stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        "disk": (stat.S_IFBLK | 0o660, os.makedev(254, 1)),
        "console": (stat.S_IFCHR | 0o600, os.makedev(5, 1)),
        "pts/0": (stat.S_IFCHR | 0o620, os.makedev(136, 0)),
        "net/tun": (stat.S_IFCHR | 0o666, os.makedev(10, 200)),
        "a/b/deep": (stat.S_IFCHR | 0o600, os.makedev(10, 1)),
    }
    for name, (mode, device) in nodes.items():
        os.mknod(tmp_path / name, mode, device)
        (tmp_path / name).chmod(stat.S_IMODE(mode))
    os.chown(tmp_path / "disk", 0, 6)
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("disk")
    found = {device["path"].removeprefix(f"{tmp_path}/"): device for device in host_devices(str(tmp_path))}
    assert sorted(found) == ["a/b/deep", "disk", "net/tun", "null"]
    disk = found["disk"]
    assert (disk["type"], disk["major"], disk["minor"]) == ("b", 254, 1)
    assert (disk["uid"], disk["gid"], disk["fileMode"]) == (0, 6, 0o660)
