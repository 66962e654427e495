"""Files that change together: what is written, when nothing is, what readers see, and what crashes leave."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.volumes.atomic_writer import write_files
from nsrun.volumes.payload import File

pytestmark = pytest.mark.root

NOW = 1_700_000_000.0


def payload(**texts: str) -> dict[str, File]:
    return {path.replace("__", "/"): File(data=text.encode(), mode=0o644) for path, text in texts.items()}


def texts(files: dict[str, File]) -> dict[str, str]:
    return {path: file.data.decode() for path, file in files.items()}


def shown(directory: Path) -> dict[str, str]:
    """What a reader sees, through the links."""
    found: dict[str, str] = {}
    for entry in directory.iterdir():
        if not entry.name.startswith(".."):
            files = [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
            found |= {str(path.relative_to(directory)): path.read_text() for path in files}
    return found


def hidden(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name.startswith(".."))


def test_it_is_laid_out_as_the_kubelet_does(tmp_path: Path) -> None:
    assert write_files(tmp_path, payload(a="1", dir__b="2", dir__sub__c="3"), gid=None, now=NOW)
    version = os.readlink(tmp_path / "..data")
    assert version.startswith("..2023_11_14_22_13_20.")
    assert hidden(tmp_path) == sorted(["..data", version])
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "dir") == "..data/dir"
    assert shown(tmp_path) == {"a": "1", "dir/b": "2", "dir/sub/c": "3"}


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    write_files(tmp_path, payload(a="1", dir__b="2"), gid=None, now=NOW)
    before = os.readlink(tmp_path / "..data")
    stamp = tmp_path.stat().st_mtime_ns
    assert not write_files(tmp_path, payload(dir__b="2", a="1"), gid=None, now=NOW + 1)
    assert (os.readlink(tmp_path / "..data"), tmp_path.stat().st_mtime_ns) == (before, stamp)


@pytest.mark.parametrize(
    "changed",
    [
        payload(a="1", dir__b="3"),
        payload(a="1"),
        payload(a="1", dir__b="2", c=""),
        {**payload(a="1"), "dir/b": File(data=b"2", mode=0o600)},
        {},
    ],
)
def test_every_change_is_shown_and_the_old_version_goes(tmp_path: Path, changed: dict[str, File]) -> None:
    write_files(tmp_path, payload(a="1", dir__b="2"), gid=None, now=NOW)
    before = os.readlink(tmp_path / "..data")
    assert write_files(tmp_path, changed, gid=None, now=NOW)
    assert os.readlink(tmp_path / "..data") != before
    assert shown(tmp_path) == texts(changed)
    assert hidden(tmp_path) == sorted(["..data", os.readlink(tmp_path / "..data")])
    for path, file in changed.items():
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == file.mode


def test_modes_and_the_group_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files = {"a": File(data=b"", mode=0o400), "d/b": File(data=b"", mode=0o755)}
        write_files(tmp_path, files, gid=4242, now=NOW)
    finally:
        os.umask(before)
    found = {path: (tmp_path / path).stat() for path in ("a", "d", "d/b", "..data")}
    assert {path: (stat.S_IMODE(status.st_mode), status.st_gid) for path, status in found.items()} == {
        "a": (0o440, 4242),
        "d": (0o2755, 4242),
        "d/b": (0o755, 4242),
        "..data": (0o2755, 4242),
    }
    assert not write_files(tmp_path, files, gid=4242, now=NOW)


def test_what_somebody_else_left_goes(tmp_path: Path) -> None:
    (tmp_path / "..2020_old").mkdir()
    (tmp_path / "..2020_old" / "a").touch()
    (tmp_path / "..data_tmp").symlink_to("..2020_old")
    (tmp_path / "stranger").write_text("x")
    (tmp_path / "a").symlink_to("/etc/passwd")
    write_files(tmp_path, payload(a="1"), gid=None, now=NOW)
    assert shown(tmp_path) == {"a": "1"}
    assert len(hidden(tmp_path)) == 2


def test_a_file_where_a_directory_was_and_back(tmp_path: Path) -> None:
    for files in (payload(x="file"), payload(x__y="below"), payload(x="file")):
        write_files(tmp_path, files, gid=None, now=NOW)
        assert shown(tmp_path) == texts(files)


@pytest.mark.parametrize("call", ["mkdir", "symlink", "rename", "unlink", "rmdir", "fchmod"])
@pytest.mark.parametrize("nth", range(6))
def test_a_crash_at_any_step_shows_one_version_and_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    """Whoever looks while it lies there half done sees the old files or the new ones."""
    old, new = payload(a="1", gone="1", dir__b="1"), payload(a="2", new="2", dir__b="2", dir__c="2")
    write_files(tmp_path, old, gid=None, now=NOW)
    real = getattr(os, call)
    left = [nth]

    def until_power_fails(*arguments: object, **options: object) -> object:
        if left[0] == 0:
            raise OSError(errno.EIO, "power failure")
        left[0] -= 1
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, until_power_fails)
        try:
            write_files(tmp_path, new, gid=None, now=NOW)
        except OSError:
            pass
    whole = {
        str(p.relative_to(tmp_path / "..data")): p.read_text() for p in (tmp_path / "..data").rglob("*") if p.is_file()
    }
    assert whole in ({p: f.data.decode() for p, f in old.items()}, {p: f.data.decode() for p, f in new.items()})
    write_files(tmp_path, new, gid=None, now=NOW)
    assert shown(tmp_path) == {p: f.data.decode() for p, f in new.items()}
    assert len(hidden(tmp_path)) == 2


def test_readers_never_see_a_mix(tmp_path: Path) -> None:
    """Whoever opens ``..data`` once finds files of one version; and ``..data`` is always there."""
    write_files(tmp_path, payload(a="0", b="0"), gid=None, now=NOW)
    done = threading.Event()
    seen: list[tuple[str, str]] = []
    failed: list[OSError] = []

    def read() -> None:
        while not done.is_set():
            try:
                os.readlink(tmp_path / "..data")
            except OSError as error:
                failed.append(error)
            try:
                version = os.open(tmp_path / "..data", os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # the link was read, and the version was gone before it was entered
            try:
                seen.append((_read(version, "a"), _read(version, "b")))
            except FileNotFoundError:
                pass  # it is being removed
            finally:
                os.close(version)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 300):
        write_files(tmp_path, payload(a=str(number), b=str(number)), gid=None, now=NOW)
    done.set()
    for reader in readers:
        reader.join()
    assert seen
    assert not failed
    assert [pair for pair in seen if pair[0] != pair[1]] == []


def _read(directory: int, name: str) -> str:
    number = os.open(name, os.O_RDONLY, dir_fd=directory)
    with open(number) as file:
        return file.read()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, payload(a="1"), gid=None, now=NOW)

    def full(number: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="no space"):
            write_files(tmp_path, payload(a="2"), gid=None, now=NOW)
    assert shown(tmp_path) == {"a": "1"}
    assert len(hidden(tmp_path)) == 2


def test_paths_are_checked_before_anything_is_touched(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="contains"):
        write_files(
            tmp_path, {"ok": File(data=b"", mode=0o644), "../out": File(data=b"", mode=0o644)}, gid=None, now=NOW
        )
    assert os.listdir(tmp_path) == []
