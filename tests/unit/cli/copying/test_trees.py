"""Trees read, written and archived, in plain directories."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.cli.copying.archive import write_archive
from nsrun.cli.copying.places import Shape
from nsrun.cli.copying.root import IN_CONTAINER, ON_HOST, Root, shape_of
from nsrun.cli.copying.target import Dress, Target
from nsrun.cli.copying.tree import Tree
from nsrun.images.entrypath import EntryError
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.tarstream import ByteStream, Entry, Kind, TarReader
from nsrun.support.fds import Fd
from nsrun.support.idranges import IdRange

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def top(path: Path) -> Fd:
    return Fd.open(path, os.O_PATH)


def copy(source: Path, destination: Path, name: str = "", dress: Dress | None = None) -> list[tuple[bytes, str]]:
    """What was passed over."""
    passed: list[tuple[bytes, str]] = []

    def pass_over(path: bytes, why: str) -> None:
        passed.append((path, why))

    with top(source) as tree, Fd.open(destination, DIRECTORY) as directory:
        target = Target(directory, dress or Dress(), passed_over=pass_over)
        target.fill(Tree(top=tree, passed_over=pass_over).entries(name.encode()))
    return passed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A bit of everything."""
    root = tmp_path / "tree"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o700)
    (root / "file").write_bytes(b"content")
    (root / "deep" / "er" / "large").write_bytes(os.urandom((2 << 20) + 17))
    (root / "link").symlink_to("/etc/passwd")
    (root / "dir-link").symlink_to("deep")
    (root / "twice").hardlink_to(root / "file")
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "tool").chmod(0o4755)
    (root / "shared").write_bytes(b"")
    (root / "shared").chmod(0o666)
    os.mkfifo(root / "fifo")
    for path in (root / "file", root / "deep" / "er", root / "deep", root / "empty"):
        os.utime(path, ns=(1_000_000_007, 1_000_000_007))
    return root


def listed(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Type and permissions, time, content."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        if path.is_symlink():
            content = os.readlink(path).encode()
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def test_a_tree_stays_what_it_is(tree: Path, tmp_path: Path) -> None:
    assert copy(tree, tmp_path, "copied") == [(b"copied/fifo", "a FIFO")]
    expected = listed(tree)
    del expected["fifo"]
    mode, *rest = expected["tool"]
    expected["tool"] = (mode & ~stat.S_ISUID, *rest)  # type: ignore[assignment]
    found = listed(tmp_path / "copied")
    assert found.keys() == expected.keys()
    assert found == expected
    assert (tmp_path / "copied" / "file").stat().st_ino == (tmp_path / "copied" / "twice").stat().st_ino
    assert (tmp_path / "copied" / "file").stat().st_nlink == 2


def test_archives_keep_all_of_a_mode_and_owners(tree: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tree / "file", 7, 8)
    copy(tree, tmp_path, "copied", Dress(archive=True))
    assert (tmp_path / "copied" / "tool").stat().st_mode & 0o7777 == 0o4755
    status = (tmp_path / "copied" / "file").stat()
    expected = (tree / "file").stat()
    assert (status.st_uid, status.st_gid) == (expected.st_uid, expected.st_gid)


def test_what_is_not_preserved(tree: Path, tmp_path: Path) -> None:
    copy(tree, tmp_path, "copied", Dress(preserve=False))
    assert (tmp_path / "copied" / "shared").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "copied" / "tool").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "copied" / "file").stat().st_mtime > 2
    assert (tmp_path / "copied" / "deep").stat().st_mtime > 2


def test_directories_that_are_there_keep_what_they_are(tree: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "deep").mkdir(parents=True, mode=0o700)
    (there / "file").write_bytes(b"another")
    (there / "kept").write_bytes(b"")
    (there / "link").symlink_to("kept")
    there.chmod(0o711)
    copy(tree, there)
    assert (there.stat().st_mode & 0o777, (there / "deep").stat().st_mode & 0o777) == (0o711, 0o700)
    assert (there / "file").read_bytes() == b"content"
    assert (there / "kept").read_bytes() == b""
    assert os.readlink(there / "link") == "/etc/passwd"


@pytest.mark.parametrize(("name", "made"), [("deep", "file"), ("file", "directory"), ("deep", "link")])
def test_what_is_in_the_way(tree: Path, tmp_path: Path, name: str, made: str) -> None:
    there = tmp_path / "there"
    there.mkdir()
    if made == "file":
        (there / name).write_bytes(b"")
    elif made == "link":
        (there / name).symlink_to(tmp_path)
    else:
        (there / name).mkdir()
    with pytest.raises((OSError, EntryError)) as error:
        copy(tree, there)
    assert name in str(error.value) or name.encode() in (getattr(error.value, "filename", b"") or b"")
    assert not (tmp_path / "er").exists()


def test_half_a_file_is_taken_away(tmp_path: Path) -> None:
    def cut() -> Iterator[memoryview]:
        yield memoryview(b"half")
        raise OSError(5, "Input/output error")

    entry = Entry(kind=Kind.FILE, path=b"f", target=b"", mode=0o644, uid=0, gid=0, size=8, stored=8, mtime=0)
    with Fd.open(tmp_path, DIRECTORY) as directory, pytest.raises(OSError) as error:
        Target(directory, Dress(), passed_over=lambda path, why: None).fill(iter([(entry, cut())]))
    assert error.value.filename == b"f"
    assert list(tmp_path.iterdir()) == []


def test_holes_stay_holes(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
        file.truncate(1 << 34)
    copy(sparse, tmp_path, "copied")
    status = (tmp_path / "copied").stat()
    assert status.st_size == 1 << 34
    assert status.st_blocks * 512 < 1 << 20
    with (tmp_path / "copied").open("rb") as file:
        file.seek(1 << 30)
        assert file.read(5) == b"end\0\0"


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    with (tmp_path / "hole").open("wb") as hole:
        hole.seek(4 << 20)
        hole.write(bytes(range(256)) * 8192)
    for name in ("file", "hole"):
        with top(tmp_path / name) as tree:
            entries = Tree(top=tree).entries(b"x")
            entry, content = next(entries)
            os.truncate(tmp_path / name, 0)
            left = b"".join(bytes(piece) for piece in content)
            assert left == (b"" if name == "file" else bytes(entry.stored))


def test_an_archive_is_read_by_others(tree: Path, tmp_path: Path) -> None:
    long = tree / ("n" * 200) / ("ü" * 60)
    long.parent.mkdir()
    long.write_bytes(b"long")
    with (tree / "holes").open("wb") as holes:
        holes.write(b"start")
        holes.seek(1 << 20)
        holes.write(b"end")
    out = io.BytesIO()
    with top(tree) as source:
        write_archive(Tree(top=source).entries(b"tree"), out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        members = {member.name: member for member in archive}
        assert members["tree"].isdir()
        assert "tree/fifo" not in members
        assert members["tree/link"].linkname == "/etc/passwd"
        assert members["tree/tool"].mode == 0o4755
        assert members["tree/file"].mtime == 1
        links = {members["tree/file"].islnk(), members["tree/twice"].islnk()}
        assert links == {True, False}
        for name in ("deep/er/large", "holes", str(long.relative_to(tree))):
            reader = archive.extractfile(f"tree/{name}")
            assert reader is not None
            assert reader.read() == (tree / name).read_bytes()


def test_and_comes_back(tree: Path, tmp_path: Path) -> None:
    out = io.BytesIO()
    with top(tree) as source:
        write_archive(Tree(top=source).entries(b"."), out)
    there = tmp_path / "there"
    there.mkdir()
    reader = TarReader(ByteStream(iter([out.getvalue()])), limits=DEFAULT_LIMITS)
    with Fd.open(there, DIRECTORY) as directory:
        Target(directory, Dress(), passed_over=lambda path, why: None).fill((e, reader.data()) for e in reader)
    assert {k: v[2] for k, v in listed(there).items()} == {k: v[2] for k, v in listed(tree).items() if k != "fifo"}


def test_ids_of_a_user_namespace(tree: Path, tmp_path: Path) -> None:
    own = IdRange(first=os.stat(tree).st_uid - 3 if os.stat(tree).st_uid > 3 else 0, count=65536)
    with top(tree) as source:
        found = {entry.uid for entry, _ in Tree(top=source, users=own).entries(b"")}
    assert found == {os.stat(tree).st_uid - own.first}
    with top(tree) as source:
        strangers = IdRange(first=1 << 30, count=65536)
        assert {entry.uid for entry, _ in Tree(top=source, users=strangers).entries(b"")} == {65534}
    entry = Entry(kind=Kind.FILE, path=b"f", target=b"", mode=0, uid=65536, gid=0, size=0, stored=0, mtime=0)
    dress = Dress(archive=True, users=strangers)
    with pytest.raises(EntryError):
        dress.owner_of(entry)
    assert Dress(owner=(5, 6), users=strangers).owner_of(entry) == ((1 << 30) + 5, (1 << 30) + 6)
    assert Dress().owner_of(entry) is None


def test_too_deep_a_tree(tmp_path: Path) -> None:
    start = os.getcwd()
    os.chdir(tmp_path)
    for _ in range(600):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(start)
    with top(tmp_path) as source, pytest.raises(EntryError):
        list(Tree(top=source).entries(b""))


def test_paths_below_a_root(tmp_path: Path) -> None:
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "motd").write_text("inside")
    (tmp_path / "root" / "abs").symlink_to("/etc/motd")
    (tmp_path / "root" / "up").symlink_to("../../../../etc/motd")
    (tmp_path / "root" / "dangling").symlink_to("/etc/new")
    (tmp_path / "root" / "loop").symlink_to("loop")
    with top(tmp_path / "root") as directory:
        root = Root(top=directory, resolve=IN_CONTAINER)
        for path in ("/etc/motd", "etc/motd", "abs", "/up", "../../etc/motd"):
            with root.open(path, os.O_RDONLY) as file:
                assert os.read(file.fileno(), 100) == b"inside"
        assert root.find("/etc/nothing") is None
        for path, name in (("/etc/x", "x"), ("abs", "motd"), ("dangling", "new"), ("/dangling/", "new")):
            parent, found = root.parent(path)
            with parent:
                assert (found, os.listdir(parent.fileno())) == (name, ["motd"])
        for path in ("loop", "/", ".", "/etc/.."):
            with pytest.raises(OSError):
                root.parent(path)
    with top(Path("/")) as directory:
        here = Root(top=directory, resolve=ON_HOST, base=str(tmp_path))
        with here.open("root/abs", os.O_PATH | os.O_NOFOLLOW) as link:
            assert shape_of(link) is Shape.OTHER
        with here.open("root/etc/motd") as file:
            assert shape_of(file) is Shape.FILE
