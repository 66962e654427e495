"""What the child that unpacks makes of archives: times, holes, what others make of the same; and of broken ones.

What attackers try is in ``tests/attacks/test_unpack.py``.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.unpacker import unpack_error
from nsrun.support.removal import remove_tree
from nsrun.support.unpacking import Report, abi
from tests.attacks.archives import Archive, header, padded
from tests.attacks.conftest import Scene, snapshot
from tests.attacks.conftest import place as place
from tests.attacks.conftest import sanitized as sanitized
from tests.attacks.conftest import scene as scene
from tests.attacks.conftest import unpack_program as unpack_program

pytestmark = pytest.mark.root


# --- directories


def listed(number: int) -> bytes:
    return header(b"d%d" % number, kind=b"5", mode=0o755, mtime=number)


def test_directories_have_their_times_however_many_and_in_whatever_order(scene: Scene) -> None:
    """More than are kept open, filled after they were listed, closed, and filled again."""
    archive = Archive()
    for number in range(600):
        archive.raw(listed(number))
    for turn in range(3):
        for number in range(turn, 600, 2):
            archive.file(b"d%d/f%d" % (number, turn))
    scene.unpack(archive.bytes())
    times = [(scene.layer / f"d{number}").stat().st_mtime_ns for number in range(600)]
    assert times == [number * 10**9 for number in range(600)]
    assert scene.layer.stat().st_mtime_ns == 0


def test_directories_have_their_times_by_whatever_path_they_are_filled(scene: Scene) -> None:
    """Also when what was opened first is closed first, which takes as many others as are kept open."""
    archive = Archive().raw(header(b"usr", kind=b"5", mode=0o755, mtime=5)).symlink(b"s", b"usr").symlink(b"r", b"/")
    archive.file(b"usr/1").file(b"s/2").file(b"r/usr/3").file(b"r/4").file(b"s/.wh.5").hard_link(b"s/6", b"usr/1")
    for number in range(300):
        archive.file(b"d%d/f" % number).file(b"s/7").file(b"r/8")
    scene.unpack(archive.raw(header(b"r/s/", kind=b"5", mode=0o750, mtime=6)).bytes())
    assert {path.name for path in (scene.layer / "usr").iterdir()} == {"1", "2", "3", "5", "6", "7"}
    assert not (scene.layer / "s").is_symlink()  # an entry replaces what has its name
    assert (scene.layer / "usr").stat().st_mtime_ns == 5 * 10**9
    assert (scene.layer / "s").stat().st_mtime_ns == 6 * 10**9
    assert scene.layer.stat().st_mtime_ns == 0


def test_a_directory_that_is_listed_late_has_its_time_and_mode(scene: Scene) -> None:
    archive = Archive().file(b"a/b/f").raw(header(b"a/b", kind=b"5", mode=0o1777, mtime=7, uid=3)).file(b"a/b/g")
    scene.unpack(archive.raw(header(b"./", kind=b"5", mode=0o700, mtime=8)).file(b"h").bytes())
    status = (scene.layer / "a" / "b").stat()
    assert (oct(status.st_mode), status.st_uid, status.st_mtime_ns) == ("0o41777", 3, 7 * 10**9)
    assert ((scene.layer / "a").stat().st_mtime_ns, scene.layer.stat().st_mtime_ns) == (0, 8 * 10**9)


def test_owners_and_modes_below_directories_that_hand_theirs_on(scene: Scene) -> None:
    """A directory with set-group-ID gives what is made in it its group, and directories its bit."""
    archive = Archive().raw(header(b"d", kind=b"5", mode=0o2775, gid=50)).file(b"d/f", mode=0o640).directory(b"d/e")
    archive.symlink(b"d/l", b"f").node(b"d/p", b"6").file(b"d/i/f", mode=0o4711)
    scene.unpack(archive.file(b"d/su", mode=0o6755).bytes())
    modes = {path.name: (oct(path.lstat().st_mode), path.lstat().st_gid) for path in (scene.layer / "d").iterdir()}
    assert modes == {
        "f": ("0o100640", 0),
        "e": ("0o40755", 0),
        "i": ("0o40755", 0),
        "l": ("0o120777", 0),
        "p": ("0o10644", 0),
        "su": ("0o106755", 0),
    }
    assert oct((scene.layer / "d" / "i" / "f").stat().st_mode) == "0o104711"


def test_lists_that_the_directory_above_hands_on_change_no_mode(place: Path, scene: Scene) -> None:
    """A default ACL, as acl(5) has it on the disk: version 2; user::rwx, group::---, other::---."""
    entries = [(1, 7), (4, 0), (32, 0)]
    acl = b"\2\0\0\0" + b"".join(bytes([tag, 0, permissions, 0]) + b"\xff" * 4 for tag, permissions in entries)
    os.setxattr(scene.layer, "system.posix_acl_default", acl)
    scene.unpack(Archive().file(b"f", mode=0o644).directory(b"d").bytes())
    assert [oct((scene.layer / name).stat().st_mode) for name in ("f", "d")] == ["0o100644", "0o40755"]
    assert [os.listxattr(path) for path in (scene.layer, scene.layer / "d")] == [[], []]


def test_trees_deeper_than_descriptors_are_replaced(scene: Scene) -> None:
    """By links, which a path may go through, a tree is as deep as there are entries."""
    archive = Archive().long_name(b"t/" + b"d/" * 500 + b"end").directory(b"x").symlink(b"s", b"t/" + b"d/" * 40)
    archive.symlink(b"u", b"s/" + b"d/" * 40).long_name(b"u/" + b"e/" * 510 + b"f").file(b"x")
    assert scene.unpack(archive.bytes()).entries == 4
    scene.unpack(archive.file(b"t", b"replaced").bytes())
    assert (scene.layer / "t").read_text() == "replaced"


# --- the same as others


def make_tree(top: Path, seed: int) -> None:
    """Files of many sizes and holes, links of both kinds, directories with times; the same for the same seed."""
    choice = random.Random(seed)
    directories = [top]
    for number in range(120):
        place = choice.choice(directories) / f"n{number}{'x' * choice.choice([0, 20, 90, 150])}"
        match choice.randrange(6):
            case 0 | 1:
                place.mkdir()
                directories.append(place)
            case 2 | 3:
                place.write_bytes(choice.randbytes(choice.choice([0, 1, 511, 512, 513, 9000, 300_000])))
                os.chmod(place, choice.choice([0o644, 0o4755, 0o2711, 0o600]))
                os.link(place, place.with_name(f"{place.name[:40]}-linked"))
            case 4:
                place.symlink_to(
                    ("y" * 49 + "/" * 51)[: choice.choice([5, 99, 100])] + "z" * choice.choice([0, 1, 200])
                )
            case _:
                with place.open("wb") as file:
                    for _ in range(choice.choice([1, 3, 30])):
                        file.seek(choice.randrange(1 << 20) & ~4095)
                        file.write(b"data" * 700)
                    file.truncate(1 << 20)
        os.chown(place, choice.choice([0, 33, 70_000, 3_000_000]), 5, follow_symlinks=False)
    for place in [top, *top.rglob("*")]:
        os.utime(place, ns=(choice.randrange(2 * 10**18),) * 2, follow_symlinks=False)


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=gnu", "--sparse"],
        ["--format=pax"],
        ["--format=pax", "--sparse"],
        ["--format=pax", "--sparse", "--sparse-version=0.1"],
        ["--format=pax", "--sparse", "--sparse-version=0.0"],
    ],
    ids=" ".join,
)
def test_the_same_as_gnu_tar(place: Path, scene: Scene, tool: Callable[[str], str], options: list[str]) -> None:
    source, theirs = place / "work" / "blob.d", place / "work" / "theirs"
    for path in (source, theirs):
        path.mkdir()
    try:
        make_tree(source, seed=len(" ".join(options)))
        tar = [tool("tar"), "--create", *options, "--numeric-owner", "--directory", str(source), "."]
        archive = subprocess.run(tar, check=True, capture_output=True).stdout
        subprocess.run([tool("tar"), "-xp", "--numeric-owner", "-C", theirs], input=archive, check=True)
        scene.unpack(archive)
        ours = snapshot(scene.layer)
        assert ours == snapshot(theirs)
        if "pax" in options[0]:
            assert ours == snapshot(source)
        for path in source.rglob("*"):
            if "--sparse" in options and path.is_file() and not path.is_symlink():
                made = scene.layer / path.relative_to(source)
                assert made.stat().st_blocks <= path.stat().st_blocks
    finally:
        remove_tree(source)
        remove_tree(theirs)


def test_extended_attributes_as_gnu_tar_archives_them(place: Path, scene: Scene, tool: Callable[[str], str]) -> None:
    source = place / "work" / "blob"
    source.touch()
    os.setxattr(source, "user.binary", b"\0\n=\xff")
    tar = [tool("tar"), "--create", "--xattrs", "--format=pax", "--directory", str(source.parent), "blob"]
    scene.unpack(subprocess.run(tar, check=True, capture_output=True).stdout)
    assert os.getxattr(scene.layer / "blob", "user.binary") == b"\0\n=\xff"


# --- broken archives


def mixed() -> Archive:
    """Of everything something, so that a cut hits it."""
    archive = Archive().directory(b"d").file(b"d/f", b"f" * 700).symlink(b"l", b"d/f").hard_link(b"h", b"d/f")
    archive.pax({b"path": b"p" * 200, b"SCHILY.xattr.user.a": b"b"}).file(b"x", b"y").long_name(b"n" * 200).file(b"x")
    regions = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"5000"}
    return (
        archive.pax(regions).file(b"s", padded(b"2\n0\n10\n4000\n5\n") + b"0123456789abcde").node(b"null", b"3", 1, 3)
    )


def outcome(scene: Scene, tar: bytes) -> str:
    """The cause of a refusal, names left out; "whole" when there is none."""
    try:
        scene.unpack(tar)
    except ImageError as error:
        return re.sub(r'"[^"]+"', "…", error.message.partition(": ")[2])
    return "whole"


def test_archives_that_are_cut_anywhere_end_in_one_sentence(scene: Scene) -> None:
    whole = mixed().bytes()
    assert {outcome(scene, whole[:cut]) for cut in range(0, len(whole), 256)} == {
        "whole",  # between entries, where there is nothing to see
        "the archive is cut off",
        "entry …: the archive is cut off",
        "the archive ends in the middle of an entry",
    }


def test_what_follows_the_end_is_passed_over(scene: Scene) -> None:
    whole = mixed().bytes()
    scene.unpack(whole + random.Random(1).randbytes(3 << 20) + b"odd")
    assert (scene.layer / "d" / "f").read_bytes() == b"f" * 700
    assert (scene.layer / "s").read_bytes() == b"0123456789" + bytes(3990) + b"abcde" + bytes(995)


def test_bytes_that_are_flipped_end_in_a_sentence_or_in_files(scene: Scene) -> None:
    """Beyond checksums too: in the content of extended headers and maps."""
    whole = mixed().bytes()
    choice = random.Random(4)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(3):
            broken[choice.randrange(len(broken))] = choice.randrange(256)
        assert "internal error" not in outcome(scene, bytes(broken))


def test_seeds_of_the_fuzzer(scene: Scene, repo: Path) -> None:
    """Through the whole program: what they make the reader do is done to files, too."""
    seeds = sorted((repo / "native" / "fuzz" / "corpus_tar").iterdir())
    assert len(seeds) > 50
    for seed in seeds:
        assert "internal error" not in outcome(scene, seed.read_bytes()[1:]), seed


def causes() -> list[str]:
    names = [name for name in dir(abi) if name.startswith("NS_UNPACK_") and "STEP" not in name]
    bounds = {"MAGIC", "PATH_MAX", "NAME_MAX", "HEADER_MAX", "REGIONS_MAX", "OPAQUE_MAX", "TEXT_MAX", "CAUSES", "DONE"}
    return [name for name in names if name.removeprefix("NS_UNPACK_") not in bounds]


@pytest.mark.parametrize("name", causes())
def test_every_cause_has_a_sentence(name: str) -> None:
    report = Report(
        cause=getattr(abi, name), error=28, number=7, entries=0, size=0, path=b"a\nb\xff", text=b"\x1b[31m\xff"
    )
    text = str(unpack_error(report))
    assert "nobody knows" not in text
    assert text.isprintable()
    assert "{" not in text
