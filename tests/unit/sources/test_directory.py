"""Real directories, real inotify: what changes is seen, and what only seems to change is not."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import pytest

from nsrun.model.update import SourceUpdate
from nsrun.sources import directory, listing, watch
from nsrun.sources.inotify import Event, Inotify, Mask
from nsrun.sources.listing import Unreadable, read_manifest
from nsrun.sources.watch import Watch
from nsrun.support.clock import SystemClock
from tests.unit.sources.following import Follower, following, manifest

pytestmark = pytest.mark.timeout(60)


async def settle(follower: Follower, place: Path) -> None:
    """Returns when everything that was done before this call has been seen: a new pod has come, and gone again."""
    names = follower.pods
    (place / "zz-mark.yaml").write_text(manifest("zz-mark"))
    await follower.until_pods(*names, "zz-mark")
    (place / "zz-mark.yaml").unlink()
    await follower.until_pods(*names)


def telling(word: str) -> Callable[[SourceUpdate], bool]:
    return lambda update: any(word in line for line in update.problems)


async def test_what_is_there_is_wanted_at_once(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(manifest("b"))
    (tmp_path / "a.yml").write_text(manifest("a2") + "---\n" + manifest("a1"))
    (tmp_path / "c.json").write_text('{"apiVersion": "v1", "kind": "List", "items": []}')
    async with following(tmp_path) as follower:
        assert follower.pods == ["a2", "a1", "b"]
        assert follower.last.pods[0].metadata.annotations["nsrun/manifest"] == str(tmp_path / "a.yml")


async def test_files_come_change_and_go(tmp_path: Path) -> None:
    async with following(tmp_path) as follower:
        assert follower.pods == []
        (tmp_path / "a.yaml").write_text(manifest("a"))
        first = await follower.until_pods("a")
        (tmp_path / "a.yaml").write_text(manifest("a", image="nginx"))
        second = await follower.until(lambda update: update.pods[0].spec.containers[0].image == "nginx")
        assert first.pods[0].uid != second.pods[0].uid
        (tmp_path / "a.yaml").unlink()
        await follower.until_pods()


async def test_a_directory_that_goes_is_told_from_an_empty_one(tmp_path: Path) -> None:
    place = tmp_path / "manifests"
    place.mkdir()
    (place / "a.yaml").write_text(manifest("a"))
    async with following(place) as follower:
        assert not (await follower.until_pods("a")).missing
        shutil.rmtree(place)
        await follower.until(lambda update: update.missing and not update.pods)
        place.mkdir()
        await follower.until(lambda update: not update.missing and not update.pods)


async def test_the_uid_survives_a_restart(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(manifest("a"))
    async with following(tmp_path) as follower:
        first = follower.last.pods
    async with following(tmp_path) as follower:
        assert follower.last.pods == first


async def test_a_rename_over_a_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(manifest("a"))
    async with following(tmp_path) as follower:
        (tmp_path / ".new").write_text(manifest("b"))
        os.rename(tmp_path / ".new", tmp_path / "a.yaml")
        await follower.until_pods("b")
        assert len(follower.updates) == 2


async def test_an_editor_that_moves_the_file_away_first_stops_nothing(tmp_path: Path) -> None:
    """vim, without backupcopy=yes: rename to a backup, write a new file, delete the backup."""
    path = tmp_path / "a.yaml"
    path.write_text(manifest("a"))
    async with following(tmp_path) as follower:
        for _ in range(5):
            os.rename(path, tmp_path / "a.yaml~")
            path.write_text(manifest("a"))
            (tmp_path / "a.yaml~").unlink()
            await settle(follower, tmp_path)
        assert all("a" in [pod.metadata.name for pod in update.pods] for update in follower.updates)
        assert all(update.problems == () for update in follower.updates)


async def test_a_file_that_vanishes_may_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "COME_BACK", 1000.0)
    (tmp_path / "a.yaml").write_text(manifest("a"))
    async with following(tmp_path) as follower:
        (tmp_path / "a.yaml").unlink()
        (tmp_path / "b.yaml").write_text(manifest("b"))
        await follower.until_pods("a", "b")
        (tmp_path / "a.yaml").write_text(manifest("a"))
        (tmp_path / "c.yaml").write_text(manifest("c"))
        await follower.until_pods("a", "b", "c")


async def test_a_file_that_is_written_while_it_is_read_counts_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(manifest("a"))
    async with following(tmp_path) as follower:
        with ExitStack() as stack:
            writers: list[TextIO] = []

            def read(name: str) -> bytes:
                if name == str(path) and not writers:
                    writers.append(stack.enter_context(path.open("w")))
                return read_manifest(name)

            monkeypatch.setattr(directory, "read_manifest", read)
            os.utime(path)
            (tmp_path / "b.yaml").write_text(manifest("b"))
            await follower.until_pods("a", "b")
            assert writers
            writers[0].write(manifest("a") + "---\n" + manifest("a2"))
        await follower.until_pods("a", "a2", "b")
        assert all(update.problems == () for update in follower.updates)


async def test_a_file_that_changes_under_the_reader_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = [Unreadable("cannot read: it is being written", busy=True)]

    def read(name: str) -> bytes:
        if busy:
            raise busy.pop()
        return read_manifest(name)

    monkeypatch.setattr(directory, "read_manifest", read)
    monkeypatch.setattr(directory, "QUIET", 0.01)
    (tmp_path / "a.yaml").write_text(manifest("a"))
    async with following(tmp_path) as follower:
        await follower.until_pods("a")
        assert all(update.problems == () for update in follower.updates)


async def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUIET", 1000.0)
    path = tmp_path / "a.yaml"
    path.write_text(manifest("a"))
    async with following(tmp_path) as follower:
        with path.open("w") as file:
            await settle(follower, tmp_path)
            file.write(manifest("a") + "---\n" + manifest("half")[:40])
            file.flush()
            await settle(follower, tmp_path)
            assert all(update.problems == () for update in follower.updates)
            file.write(manifest("half")[40:])
        await follower.until_pods("a", "half")
        assert all(update.problems == () for update in follower.updates)


async def test_a_writer_that_never_closes_is_read_when_it_is_quiet(tmp_path: Path) -> None:
    async with following(tmp_path) as follower:
        with (tmp_path / "a.yaml").open("w") as file:
            file.write(manifest("a"))
            file.flush()
            await follower.until_pods("a")


async def test_links_count_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUIET", 1000.0)
    place, elsewhere = tmp_path / "m", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a").write_text(manifest("a"))
    (elsewhere / "b").write_text(manifest("b"))
    async with following(place) as follower:
        os.symlink(elsewhere / "a", place / "a.yaml")
        await follower.until_pods("a")
        os.link(elsewhere / "b", place / "b.yaml")
        await follower.until_pods("a", "b")


async def test_the_swap_of_a_config_map_volume_is_seen(tmp_path: Path) -> None:
    """Kubernetes' atomic writer: the files are links through ``..data``, which is renamed over."""
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "pod.yaml").write_text(manifest("a", image=f"image:{version[2:]}"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "pod.yaml").symlink_to("..data/pod.yaml")
    async with following(tmp_path) as follower:
        assert follower.last.pods[0].spec.containers[0].image == "image:1"
        (tmp_path / "..data_tmp").symlink_to("..2")
        os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
        await follower.until(lambda update: update.pods[0].spec.containers[0].image == "image:2")
        assert len(follower.updates) == 2


async def test_the_directory_may_come_later(tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet" / "there"
    async with following(place) as follower:
        assert follower.last.warnings == (f"{place}: is not there, so no pods are wanted",)
        place.mkdir(parents=True)
        (place / "a.yaml").write_text(manifest("a"))
        update = await follower.until_pods("a")
        assert update.warnings == ()


async def test_the_directory_may_be_removed_and_made_again(tmp_path: Path) -> None:
    place = tmp_path / "m"
    place.mkdir()
    (place / "a.yaml").write_text(manifest("a"))
    async with following(place) as follower:
        shutil.rmtree(place)
        await follower.until_pods()
        place.mkdir()
        (place / "b.yaml").write_text(manifest("b"))
        await follower.until_pods("b")


async def test_the_directory_may_be_replaced(tmp_path: Path) -> None:
    for name in ("m", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(manifest("a"))
    (tmp_path / "new" / "b.yaml").write_text(manifest("b"))
    async with following(tmp_path / "m") as follower:
        os.rename(tmp_path / "m", tmp_path / "old")
        os.rename(tmp_path / "new", tmp_path / "m")
        await follower.until_pods("a", "b")
        (tmp_path / "m" / "c.yaml").write_text(manifest("c"))
        await follower.until_pods("a", "b", "c")
        assert all("a" in [pod.metadata.name for pod in update.pods] for update in follower.updates)


async def test_the_directory_may_be_a_link_that_is_pointed_elsewhere(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(manifest(name))
    (tmp_path / "m").symlink_to("one")
    async with following(tmp_path / "m") as follower:
        assert follower.pods == ["one"]
        (tmp_path / "tmp").symlink_to("two")
        os.rename(tmp_path / "tmp", tmp_path / "m")
        await follower.until_pods("two")


async def test_a_single_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "pod.manifest"
    async with following(path) as follower:
        assert follower.pods == []
        path.write_text(manifest("a"))
        await follower.until_pods("a")
        (tmp_path / "other.yaml").write_text(manifest("other"))
        (tmp_path / "new").write_text(manifest("b"))
        os.rename(tmp_path / "new", path)
        await follower.until_pods("b")
        path.unlink()
        await follower.until_pods()


async def test_a_single_file_may_be_a_link(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "pod.yaml").write_text(manifest(f"v{version}"))
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "pod.yaml").symlink_to("..data/pod.yaml")
    async with following(tmp_path / "pod.yaml") as follower:
        assert follower.pods == ["v1"]
        (tmp_path / "tmp").symlink_to("2")
        os.rename(tmp_path / "tmp", tmp_path / "..data")
        await follower.until_pods("v2")


async def test_last_good_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(manifest("a"))
    (tmp_path / "b.yaml").write_text(manifest("b"))
    async with following(tmp_path) as follower:
        good = follower.last.pods
        for content, told in (("", "empty"), ("a: [", "YAML"), (manifest("busy box"), "name"), ("x\0y", "control")):
            path.write_text(content)
            update = await follower.until(telling(told))
            assert update.pods == good
            assert {str(name) for name in update.retained} == {"default/a"}
            assert update.broken == {str(path)}
            assert len(update.problems) == 1
            assert update.problems[0].startswith(f"{path}:")
            assert update.warnings == (f'{path}: pod "default/a" keeps running as it was last read',)
        path.write_text(manifest("a"))
        update = await follower.until(lambda update: not update.problems)
        assert update.pods == good


async def test_what_can_no_longer_be_read_stays(tmp_path: Path) -> None:
    path, real = tmp_path / "a.yaml", tmp_path / "real"
    real.write_text(manifest("a"))
    path.symlink_to(real)
    async with following(tmp_path) as follower:
        real.rename(tmp_path / "gone")
        update = await follower.until(lambda update: update.problems)
        assert update.problems == (f"{path}: cannot read: no such file or directory (ENOENT)",)
        assert follower.pods == ["a"]
        (tmp_path / "gone").rename(real)
        await follower.until(lambda update: not update.problems)


async def test_a_directory_that_can_no_longer_be_read_stops_nothing(tmp_path: Path) -> None:
    place = tmp_path / "m"
    place.mkdir()
    (place / "a.yaml").write_text(manifest("a"))
    (tmp_path / "link").symlink_to("m")
    async with following(tmp_path / "link") as follower:
        (tmp_path / "loop").symlink_to("link")
        os.rename(tmp_path / "loop", tmp_path / "link")
        update = await follower.until(lambda update: update.problems)
        assert update.problems == (f"{tmp_path}/link: cannot read: too many levels of symbolic links (ELOOP)",)
        assert {str(name) for name in update.retained} == {"default/a"}
        assert update.broken == {f"{tmp_path}/link"}
        assert follower.pods == ["a"]


async def test_who_has_a_name_keeps_it(tmp_path: Path) -> None:
    async with following(tmp_path) as follower:
        (tmp_path / "b.yaml").write_text(manifest("x", image="from-b"))
        await follower.until_pods("x")
        (tmp_path / "a.yaml").write_text(manifest("x", image="from-a"))
        update = await follower.until(lambda update: update.problems)
        assert update.pods[0].spec.containers[0].image == "from-b"
        assert update.problems == (
            f'{tmp_path}/a.yaml:4:9: metadata.name: pod "default/x" is already defined in {tmp_path}/b.yaml:4:9',
        )
        (tmp_path / "b.yaml").unlink()
        update = await follower.until(lambda update: not update.problems)
        await follower.until(lambda update: update.pods[0].spec.containers[0].image == "from-a")


async def test_the_rename_of_a_file_is_told_as_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(manifest("x"))
    async with following(tmp_path) as follower:
        first = follower.last.pods[0].uid
        os.rename(tmp_path / "b.yaml", tmp_path / "a.yaml")
        await follower.until(lambda update: update.pods and update.pods[0].uid != first)
        assert all(update.problems == () and len(update.pods) == 1 for update in follower.updates)


async def test_skipped_files_are_named_unless_they_vanish(tmp_path: Path) -> None:
    async with following(tmp_path) as follower:
        (tmp_path / "4913").write_text("")
        (tmp_path / "4913").unlink()
        (tmp_path / "a.yaml.bak").write_text(manifest("a"))
        update = await follower.until(lambda update: update.warnings)
        path = tmp_path / "a.yaml.bak"
        assert update.warnings == (f"{path}: skipped, its name does not end in .yaml, .yml or .json",)
        assert len(follower.updates) == 2


async def test_names_that_would_fool_a_terminal_are_told_in_escapes(tmp_path: Path) -> None:
    (tmp_path / "a\n\x1b[2J.yaml").write_text("x")
    (tmp_path / os.fsdecode(b"b\xff.yaml")).write_text(manifest("b"))
    async with following(tmp_path) as follower:
        assert all(line.isprintable() for line in follower.last.problems)
        assert follower.pods == ["b"]
        assert follower.last.pods[0].metadata.annotations["nsrun/manifest"].isprintable()


async def test_nothing_new_is_nothing_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: [")
    (tmp_path / "b.yaml").write_text(manifest("b"))
    async with following(tmp_path, check_seconds=0.01) as follower:
        for _ in range(20):
            os.utime(tmp_path / "b.yaml")
            (tmp_path / "b.yaml").write_text(manifest("b"))
        await settle(follower, tmp_path)
        assert [len(update.pods) for update in follower.updates] == [1, 2, 1]


async def test_without_inotify_the_periodic_reading_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Inotify:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(watch, "Inotify", refuse)
    async with following(tmp_path, check_seconds=0.05) as follower:
        assert follower.last.warnings == (f"{tmp_path}: cannot watch for changes: too many open files (EMFILE)",)
        (tmp_path / "a.yaml").write_text(manifest("a"))
        await follower.until_pods("a")
        (tmp_path / "a.yaml").unlink()
        await follower.until_pods()


async def test_without_watches_left_the_periodic_reading_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Inotify, path: str, mask: Mask) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Inotify, "add", refuse)
    async with following(tmp_path, check_seconds=0.05) as follower:
        assert follower.last.warnings == (f"{tmp_path}: cannot watch for changes: no space left on device (ENOSPC)",)
        (tmp_path / "a.yaml").write_text(manifest("a"))
        await follower.until_pods("a")
        monkeypatch.undo()
        await follower.until(lambda update: not update.warnings)


async def test_lost_events_are_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Inotify.read

    def lossy(self: Inotify) -> list[Event]:
        return [Event(watch=-1, mask=Mask.OVERFLOW, name="") for event in real(self)][:1]

    monkeypatch.setattr(Inotify, "read", lossy)
    # As coarse as a file system's clock may be: a change shows in nothing but the content.
    same = listing.Signature(device=0, inode=0, size=0, modified_ns=0, changed_ns=0)
    monkeypatch.setattr(listing, "_signature", lambda status: same)
    (tmp_path / "a.yaml").write_text(manifest("a"))
    async with following(tmp_path) as follower:
        (tmp_path / "a.yaml").write_text(manifest("b"))
        await follower.until_pods("b")


async def test_many_files_at_once(tmp_path: Path) -> None:
    async with following(tmp_path) as follower:
        for index in range(300):
            (tmp_path / f"{index:03}.yaml").write_text(manifest(f"pod-{index:03}"))
        await follower.until(lambda update: len(update.pods) == 300)
        shutil.rmtree(tmp_path)
        await follower.until_pods()


async def test_nothing_is_left_open(tmp_path: Path) -> None:
    def instances() -> int:
        return sum(os.path.realpath(path).endswith("anon_inode:inotify") for path in Path("/proc/self/fd").iterdir())

    before = instances()
    async with following(tmp_path):
        assert instances() == before + 1
    assert instances() == before


def test_inotify_says_what_the_kernel_says(tmp_path: Path) -> None:
    inotify = Inotify()
    number = inotify.add(str(tmp_path), Mask.CREATE | Mask.DELETE_SELF)
    assert inotify.add(str(tmp_path), Mask.CREATE | Mask.DELETE_SELF) == number
    assert list(inotify.read()) == []
    (tmp_path / "a").mkdir()
    assert list(inotify.read()) == [Event(watch=number, mask=Mask.CREATE | Mask.ISDIR, name="a")]
    inotify.remove(number)
    assert [event.mask for event in inotify.read()] == [Mask.IGNORED]
    inotify.remove(number)
    with pytest.raises(FileNotFoundError):
        inotify.add(str(tmp_path / "b"), Mask.CREATE)
    inotify.close()
    with pytest.raises(ValueError):
        inotify.add(str(tmp_path), Mask.CREATE)
    inotify.remove(number)


async def test_a_watch_that_is_closed_meanwhile_says_so(tmp_path: Path) -> None:
    """The thread that arms a watch may outlive the source that is cancelled."""
    eye = Watch(str(tmp_path), clock=SystemClock())
    eye.arm()
    eye.open()
    eye.arm()
    assert eye.warning is None
    eye._inotify.close()  # type: ignore[union-attr]
    eye.arm()
    assert eye.warning is not None


async def test_a_way_that_never_settles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanished(self: Inotify, path: str, mask: Mask) -> int:
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(Inotify, "add", vanished)
    eye = Watch(str(tmp_path), clock=SystemClock())
    eye.open()
    eye.arm()
    eye.close()
    eye.close()


def settings(value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{key: {value}}}\n"


async def test_a_change_of_a_config_map_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(manifest("web"))
    (tmp_path / "config.yaml").write_text(settings("old"))
    name = ("default", "settings")
    async with following(tmp_path) as follower:
        before = await follower.until(lambda update: update.objects.config_maps[name].data == {"key": b"old"})
        (tmp_path / "config.yaml").write_text(settings("new"))
        after = await follower.until(lambda update: update.objects.config_maps[name].data == {"key": b"new"})
        assert after.pods == before.pods
        (tmp_path / "config.yaml").write_text(settings("{broken"))
        kept = await follower.until(lambda update: update.problems)
        assert kept.objects == after.objects
        (tmp_path / "config.yaml").unlink()
        await follower.until(lambda update: not update.objects.config_maps and not update.problems)
