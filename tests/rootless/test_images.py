"""What becomes of an image's files whose owners are not root, where there are only the ids of a user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nsrun.errors import ImageError
from nsrun.images.layers import Layers
from tests.rootless.conftest import Account
from tests.rootless.scenes import SINGLE, play

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

DIRECTORY, SYMLINK, CHARACTER, FIFO = "5", "2", "3", "6"
OPAQUE = {"name": "opaque/.wh..wh..opq"}
ENTRIES: list[dict[str, Any]] = [
    {"name": "file", "uid": 1000, "gid": 1001, "mode": 0o4751, "content": "x"},
    {"name": "directory", "type": DIRECTORY, "uid": 7, "gid": 8, "mode": 0o2770},
    {"name": "link", "type": SYMLINK, "uid": 1000, "gid": 1000, "link": "file"},
    {"name": "fifo", "type": FIFO, "uid": 1000, "mode": 0o600},
    {"name": "null", "type": CHARACTER, "device": [1, 3], "mode": 0o666},
    {"name": "disk", "type": CHARACTER, "device": [8, 0], "mode": 0o666},
    {"name": ".wh.gone"},
    OPAQUE,
    {"name": "marked", "content": "x", "xattrs": {"user.overlay.redirect": "/x", "user.kept": "y"}},
    {"name": "capable", "content": "x", "xattrs": {"trusted.mine": "x"}},
]


def unpack(account: Account, entries: list[dict[str, Any]], **words: Any) -> dict[str, Any]:
    answer = play(account, "unpack", entries=entries, **words)
    assert "found" in answer, answer
    found: dict[str, Any] = answer["found"]
    return found


def test_owners_are_those_of_the_map(account: Account) -> None:
    found = unpack(account, ENTRIES)

    assert (found["file"]["owner"], found["file"]["mode"]) == ([1000, 1001], 0o4751)
    assert (found["directory"]["owner"], found["directory"]["mode"]) == ([7, 8], 0o2770)
    assert found["link"]["owner"] == [1000, 1000]
    assert found["fifo"]["owner"] == [1000, 0]


def test_devices_are_as_if_they_were_not_there(account: Account) -> None:
    found = unpack(account, ENTRIES)

    for name in ("null", "disk", "gone"):
        assert (found[name]["kind"], found[name]["device"]) == ("c", [0, 0])


def test_overlayfs_marks_are_the_users(account: Account) -> None:
    found = unpack(account, ENTRIES)

    assert found["opaque"]["xattrs"] == {"user.overlay.opaque": b"y".hex()}
    assert found["marked"]["xattrs"] == {"user.kept": b"y".hex()}
    assert found["capable"]["xattrs"] == {}


def test_layers_lie_over_each_other(account: Account) -> None:
    below = play(account, "unpack", entries=[{"name": "etc/passwd", "content": "below\n"}, {"name": "d/a"}])["path"]
    above = play(account, "unpack", entries=[{"name": "d/.wh..wh..opq"}, {"name": "d/b", "content": "b"}])["path"]
    hides = play(account, "unpack", entries=[{"name": "etc/.wh.passwd"}])["path"]

    assert play(account, "read", layers=[above, below], path="/etc/passwd") == "below\n"
    assert play(account, "read", layers=[above, below], path="/d/a") == ""
    assert play(account, "read", layers=[hides, below], path="/etc/passwd") == ""


def test_an_owner_beyond_the_map_is_refused(account: Account) -> None:
    answer = play(account, "unpack", entries=[{"name": "far", "uid": 5, "gid": 70000}])

    assert 'entry "far": it belongs to id 70000, which whoever runs nsrun has not got' in answer["error"]
    assert "/etc/subuid and /etc/subgid must give them 70000 ids or more" in answer["hint"]


def test_with_a_single_id_owners_are_recorded(account: Account) -> None:
    found = unpack(account, ENTRIES, ids=SINGLE)

    assert {tuple(entry["owner"]) for entry in found.values()} == {(0, 0)}
    assert found["file"]["mode"] == 0o4751
    assert found["file"]["xattrs"] == {"user.containers.override_stat": b"1000:1001:04751".hex()}
    assert found["directory"]["xattrs"] == {"user.containers.override_stat": b"7:8:02770".hex()}
    assert found["marked"]["xattrs"] == {"user.kept": b"y".hex()}


def test_owners_that_were_lost_are_found_once_there_are_ids(account: Account) -> None:
    unpack(account, ENTRIES, ids=SINGLE)

    assert unpack(account, ENTRIES)["file"]["owner"] == [1000, 1001]


def test_a_users_store_is_not_roots(account: Account) -> None:
    """What is hidden in its layers means nothing to root."""
    unpack(account, ENTRIES)
    with pytest.raises(ImageError, match="they were unpacked by a user") as told:
        Layers(account.seen(account.home / "root/layers")).check_marks()
    assert told.value.hint == "choose another --root"


def test_roots_store_is_not_a_users(account: Account) -> None:
    layer = account.home / "root/layers/sha256" / ("0" * 64)
    owner = f"chown -R {account.uid}:{account.uid} {account.home}"
    account.as_root(f"mkdir -p {layer}; echo '{{\"format\": 1}}' >{layer}/layer.json; {owner}")
    answer = play(account, "unpack", entries=ENTRIES)

    assert "they were unpacked by root" in answer["error"]


def test_images_are_loaded_and_looked_into(account: Account, demo_images: Path) -> None:
    """By the program, in the user's own namespaces."""
    loaded = account.run("nsrun", "load", str(demo_images))
    assert "Loaded image: docker.io/library/busybox:latest" in loaded.stdout, loaded.stderr
    checked = account.run("nsrun", "store", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    account.run("mkdir", "here")
    script = "nsrun image mount busybox here && ls here/bin/busybox && nsrun image umount --all"
    looked = account.run("nsrun", "unshare", "--", "sh", "-ec", script)
    assert "here/bin/busybox" in looked.stdout, looked.stderr
