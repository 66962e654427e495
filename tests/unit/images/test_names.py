"""index.json and those who write it without a lock: nothing of it is lost, and half of it harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nsrun.images import names as module
from nsrun.images.names import NAME, SOURCE, Entry, Names, entry_name, merged
from tests.layouts import sha256
from tests.waiting import eventually

OCI = "application/vnd.oci.image.manifest.v1+json"


def entry(name: str | None, content: str = "1", *, ours: bool = False) -> Entry:
    annotations = {NAME: name} if name is not None else {}
    if ours:
        annotations[SOURCE] = sha256(content.encode())
    return {"mediaType": OCI, "digest": sha256(content.encode()), "size": 1, "annotations": annotations}


def everything(digest: str) -> bool:
    return True


def nothing(digest: str) -> bool:
    return False


class Written:
    """A layout's index, as others write it: in place, without a lock."""

    def __init__(self, root: Path) -> None:
        self.path = root / "index.json"

    def text(self, *entries: Entry) -> str:
        return json.dumps({"schemaVersion": 2, "manifests": list(entries)})

    def write(self, *entries: Entry) -> None:
        self.path.write_text(self.text(*entries))

    def read(self) -> list[Entry]:
        return list(json.loads(self.path.read_text())["manifests"])


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


@pytest.fixture
def names(tmp_path: Path) -> Names:
    return Names(tmp_path, has=everything)


def add(names: Names, *new: Entry) -> None:
    names.change(lambda entries: [*entries, *new])


# --- what counts


def test_what_a_writer_dropped_counts_while_its_manifest_is_here() -> None:
    ours, theirs = entry("a", ours=True), entry("b", "2")
    assert merged([ours], [theirs], everything) == [theirs, ours]
    assert merged([ours], [theirs], nothing) == [theirs]
    assert merged([theirs], [], everything) == [theirs]
    assert merged([theirs], [], nothing) == []


def test_another_image_of_the_same_name_counts_instead() -> None:
    old, new = entry("a", "1", ours=True), entry("a", "2")
    assert merged([old], [new], everything) == [new]


def test_what_nsrun_removed_does_not_come_back_without_its_content() -> None:
    removed = entry("a", ours=True)
    assert merged([], [removed], nothing) == []
    assert merged([], [removed], everything) == [removed]
    assert merged([], [entry("a")], nothing) == [entry("a")], "what others wrote stays, whatever it is"


def test_entries_without_a_name_come_and_go() -> None:
    assert merged([entry(None)], [], everything) == []
    assert merged([], [entry(None)], nothing) == [entry(None)]


# --- reading and writing


def test_names_that_a_slow_writer_loses_come_back(names: Names, written: Written) -> None:
    before = entry("before", ours=True)
    add(names, before)
    seen = written.read()  # skopeo begins
    meanwhile = entry("meanwhile", "2", ours=True)
    add(names, meanwhile)
    copied = entry("copied", "3")
    written.write(*seen, copied)  # and ends
    assert {entry_name(one) for one in names.entries()} == {"before", "meanwhile", "copied"}
    assert names.settle()
    assert {entry_name(one) for one in written.read()} == {"before", "meanwhile", "copied"}


def test_a_removed_name_that_a_slow_writer_brings_back_is_gone(tmp_path: Path, written: Written) -> None:
    here = {sha256(b"1"), sha256(b"2")}
    names = Names(tmp_path, has=lambda digest: digest in here)
    add(names, entry("a", ours=True))
    seen = written.read()
    names.change(lambda _: [])
    here.remove(sha256(b"1"))
    written.write(*seen, entry("b", "2"))
    assert [entry_name(one) for one in names.entries()] == ["b"]


@pytest.mark.parametrize("content", ["", '{"manifests": [', '{"manifests": 3}'])
def test_half_a_file_harms_no_reader(names: Names, written: Written, content: str) -> None:
    add(names, entry("a", ours=True))
    written.path.write_text(content)
    assert [entry_name(one) for one in names.entries()] == ["a"]


def test_who_writes_waits_for_who_is_writing(names: Names, written: Written) -> None:
    add(names, entry("a", ours=True))
    whole = written.text(*written.read(), entry("b", "2"))
    written.path.write_text(whole[:20])
    done = threading.Thread(target=add, args=(names, entry("c", "3", ours=True)))
    done.start()
    written.path.write_text(whole)
    done.join()
    assert {entry_name(one) for one in written.read()} == {"a", "b", "c"}


def test_what_is_written_between_reading_and_writing_stays(names: Names, written: Written) -> None:
    add(names, entry("a", ours=True))
    calls = []

    def change(entries: list[Entry]) -> list[Entry]:
        calls.append(len(entries))
        if len(calls) == 1:
            written.write(*written.read(), entry("b", "2"))
        return [*entries, entry("c", "3", ours=True)]

    names.change(change)
    assert calls == [1, 2]
    assert {entry_name(one) for one in written.read()} == {"a", "b", "c"}


def test_what_is_written_into_the_replaced_file_is_taken_over(
    names: Names, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(names, entry("a", ours=True))
    write = module.write_atomic  # type: ignore[attr-defined]
    others = written.text(entry("a", ours=True), entry("b", "2"))
    late: list[int] = []

    def replaced(path: Path, data: bytes, **how: bool) -> None:
        if path == written.path and not late:
            late.append(os.open(path, os.O_WRONLY))  # somebody opens it, nsrun replaces it, and then they write
            write(path, data, **how)
            os.ftruncate(late[0], 0)
            os.write(late[0], others.encode())
            os.close(late[0])
        else:
            write(path, data, **how)

    monkeypatch.setattr(module, "write_atomic", replaced)
    add(names, entry("c", "3", ours=True))
    assert {entry_name(one) for one in written.read()} == {"a", "b", "c"}


def test_nothing_is_written_when_nothing_changes(names: Names, written: Written) -> None:
    written.write(entry("b", "2"), entry("a"))
    before = written.path.stat()
    names.settle()
    assert written.path.stat().st_ino == before.st_ino
    assert [entry_name(one) for one in written.read()] == ["b", "a"], "the order is theirs"


ADDER = """
import sys
from pathlib import Path
from nsrun.images.names import Names
from tests.unit.images.test_names import add, entry
names = Names(Path(sys.argv[1]), has=lambda digest: True)
for number in range(20):
    add(names, entry(f"{sys.argv[2]}-{number}", str(number), ours=True))
"""


def test_many_writers_lose_nothing(tmp_path: Path, written: Written, repo: Path) -> None:
    names = Names(tmp_path, has=everything)
    names.settle()
    adders = [
        subprocess.Popen([sys.executable, "-c", ADDER, str(tmp_path), f"adder{number}"], cwd=repo)
        for number in range(3)
    ]

    def all_ended() -> bool:
        """Meanwhile somebody else reads the index, takes its time, and writes it in place."""
        try:
            seen = [one for one in written.read() if entry_name(one) != "rude"]
        except (OSError, ValueError):
            return False
        written.write(*seen, entry("rude", "9"))
        return all(adder.poll() is not None for adder in adders)

    eventually(all_ended, seconds=60, every=0.01)
    assert [adder.returncode for adder in adders] == [0, 0, 0]
    names.settle()
    expected = {f"adder{one}-{number}" for one in range(3) for number in range(20)}
    assert expected <= {entry_name(one) for one in written.read()}
