"""Containers that lead a copy astray: CVE-2018-15664, CVE-2019-1002101, -11246, -11249, -11251, -14271 and their kin.

A directory stands for the container's root here: what matters is who resolves which name, and when."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nsrun.cli.copying.root import IN_CONTAINER, Root
from nsrun.cli.copying.target import Dress, Target
from nsrun.cli.copying.tree import Tree
from nsrun.images.entrypath import EntryError
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.tarstream import ByteStream, Entry, Kind, TarReader
from nsrun.support.fds import Fd

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
ROUNDS = 3000


def unpack(archive: bytes, directory: Path, dress: Dress | None = None) -> list[str]:
    """What was passed over."""
    passed: list[str] = []
    reader = TarReader(ByteStream(iter([archive])), limits=DEFAULT_LIMITS)
    with Fd.open(directory, DIRECTORY) as target:
        Target(target, dress or Dress(), passed_over=lambda path, why: passed.append(why)).fill(
            (entry, reader.data()) for entry in reader
        )
    return passed


def tar(*members: tuple[str, bytes, str, int]) -> bytes:
    """Name, type, target, mode; files hold ``evil``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target, mode in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, mode
            info.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"evil"))
    return out.getvalue()


FILE, LINK, HARD, DIR = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Where a copy may write, and the host beside it."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (outside / "secret").chmod(0o600)
    return inside, outside


@pytest.mark.parametrize(
    "members",
    [
        [("../outside/new", FILE, "", 0o644)],
        [("a/../../outside/new", FILE, "", 0o644)],
        [("link", LINK, "../outside", 0o777), ("link/new", FILE, "", 0o644)],
        [("link", LINK, "{outside}", 0o777), ("link/new", FILE, "", 0o644)],
        [("link", LINK, "../outside", 0o777), ("link/sub", DIR, "", 0o755)],
        [("a/up", LINK, "..", 0o777), ("a/up/up", LINK, "../outside", 0o777), ("a/up/up/new", FILE, "", 0o644)],
        [("hard", HARD, "../outside/secret", 0o644)],
        [("hard", HARD, "{outside}/secret", 0o644)],
        [("link", LINK, "../outside", 0o777), ("hard", HARD, "link/secret", 0o644)],
        [("link", LINK, "../outside/new", 0o777), ("link", DIR, "", 0o777)],
        [(".", LINK, "../outside", 0o777)],
        [("", FILE, "", 0o777)],
    ],
)
def test_archives_that_lead_out(places: tuple[Path, Path], members: list[tuple[str, bytes, str, int]]) -> None:
    inside, outside = places
    filled = [(name, kind, target.replace("{outside}", str(outside)), mode) for name, kind, target, mode in members]
    with pytest.raises((EntryError, OSError)):
        unpack(tar(*filled), inside)
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").stat().st_nlink == 1
    assert (outside / "secret").stat().st_mode & 0o777 == 0o600


def test_absolute_names_stay_inside(places: tuple[Path, Path]) -> None:
    inside, outside = places
    unpack(tar((f"{outside}/new", FILE, "", 0o644)), inside)
    assert os.listdir(outside) == ["secret"]
    assert (inside / str(outside).lstrip("/") / "new").read_bytes() == b"evil"


def test_links_in_the_way_are_replaced_and_not_written_through(places: tuple[Path, Path]) -> None:
    inside, outside = places
    (inside / "link").symlink_to(outside / "secret")
    (inside / "dangling").symlink_to(outside / "new")
    os.link(outside / "secret", inside / "hard")
    unpack(tar(*[(name, FILE, "", 0o666) for name in ("link", "dangling", "hard")]), inside)
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert (outside / "secret").stat().st_mode & 0o777 == 0o600
    assert [(inside / name).read_bytes() for name in ("link", "dangling", "hard")] == [b"evil"] * 3


def test_no_power_comes_along(places: tuple[Path, Path]) -> None:
    inside, _ = places
    kinds = [("sda", tarfile.BLKTYPE), ("mem", tarfile.CHRTYPE), ("pipe", tarfile.FIFOTYPE)]
    passed = unpack(tar(("su", FILE, "", 0o6755), *[(name, kind, "", 0o666) for name, kind in kinds]), inside)
    assert passed == ["a block device", "a character device", "a fifo"]
    assert os.listdir(inside) == ["su"]
    assert stat.S_IMODE((inside / "su").stat().st_mode) == 0o755
    unpack(tar(("kept", FILE, "", 0o6755)), inside, Dress(archive=True))
    assert stat.S_IMODE((inside / "kept").stat().st_mode) == 0o6755


@pytest.mark.root
def test_magic_links_of_proc_lead_nowhere(places: tuple[Path, Path]) -> None:
    inside, outside = places
    (inside / "proc").mkdir()
    (inside / "innocent").symlink_to(f"/proc/self/root{outside}/secret")
    subprocess.run(["mount", "--bind", "/proc", str(inside / "proc")], check=True)
    try:
        held = os.open(outside, os.O_RDONLY)
        (inside / "handle").symlink_to(f"/proc/{os.getpid()}/fd/{held}")
        with Fd.open(inside, os.O_PATH) as top:
            root = Root(top=top, resolve=IN_CONTAINER)
            for path in ("innocent", "/proc/self/root/etc/passwd", "handle/secret", "/proc/1/cwd"):
                with pytest.raises(OSError):
                    root.open(path, os.O_RDONLY)
                with pytest.raises(OSError):
                    root.parent(path + "/x")
        os.close(held)
    finally:
        subprocess.run(["umount", str(inside / "proc")], check=True)


@contextmanager
def flipping(flip: Callable[[], None]) -> Iterator[None]:
    """Somebody who changes a name all the time."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            flip()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def exchange(one: Path, other: Path) -> Callable[[], None]:
    """renameat2(RENAME_EXCHANGE), which a container has too: at every moment both names are there."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def flip() -> None:
        libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)

    return flip


def test_a_directory_that_becomes_a_link_while_it_is_written_to(places: tuple[Path, Path]) -> None:
    inside, outside = places
    (inside / "d").mkdir()
    (inside / "other").symlink_to(outside)
    entry = Entry(kind=Kind.FILE, path=b"d/new", target=b"", mode=0o777, uid=0, gid=0, size=4, stored=4, mtime=0)
    made = refused = 0
    with flipping(exchange(inside / "d", inside / "other")), Fd.open(inside, DIRECTORY) as directory:
        while (made < 20 or refused < 20) and made + refused < 100 * ROUNDS:
            target = Target(directory, Dress(), passed_over=lambda path, why: None)
            try:
                target.fill(iter([(entry, iter([memoryview(b"evil")]))]))
                made += 1
            except (EntryError, OSError):
                refused += 1
    assert os.listdir(outside) == ["secret"]
    assert made >= 20
    assert refused >= 20


def test_a_destination_that_becomes_a_link(places: tuple[Path, Path]) -> None:
    """The parent of a destination, looked up in a root whose links change."""
    inside, outside = places
    (inside / "d").mkdir()
    (inside / "other").symlink_to(f"../../../../../../..{outside}")
    found = set()
    with flipping(exchange(inside / "d", inside / "other")), Fd.open(inside, os.O_PATH) as top:
        root = Root(top=top, resolve=IN_CONTAINER)
        for _ in range(ROUNDS):
            try:
                parent, _ = root.parent("/d/new")
            except OSError:
                continue
            with parent:
                found.add(os.fstat(parent.fileno()).st_ino)
    assert found == {(inside / name).lstat().st_ino for name in ("d", "other") if not (inside / name).is_symlink()}


def test_files_that_become_links_while_they_are_read(places: tuple[Path, Path]) -> None:
    inside, outside = places
    (inside / "d").mkdir()
    (inside / "d" / "secret").write_bytes(b"harmless")
    (inside / "other").symlink_to(outside)
    (inside / "f").write_bytes(b"harmless")
    (inside / "g").symlink_to(outside / "secret")
    flip_directory, flip_file = exchange(inside / "d", inside / "other"), exchange(inside / "f", inside / "g")

    def flip() -> None:
        flip_directory()
        flip_file()

    contents = set()
    with flipping(flip), Fd.open(inside, os.O_PATH) as top:
        for _ in range(ROUNDS // 3):
            for entry, content in Tree(top=top).entries(b""):
                if entry.kind is Kind.FILE:
                    contents.add(b"".join(bytes(piece) for piece in content))
    assert contents == {b"harmless"}


def test_names_with_escapes_are_harmless_to_a_terminal(tmp_path: Path) -> None:
    from nsrun.cli.copying.copy import copy
    from nsrun.cli.copying.places import InPod, OnHost
    from nsrun.runtime.container_root import ContainerRoot

    root = tmp_path / "root"
    root.mkdir()
    os.mkfifo(root / "\x1b]0;evil\x07\n")
    told: list[str] = []
    with Fd.open(root, os.O_PATH) as top:
        container = ContainerRoot(root=top, owner=(0, 0), users=None, pseudo=frozenset())
        copy(
            InPod(pod="p", path="/"),
            OnHost(path=str(tmp_path / "to")),
            container,
            Dress(),
            passed_over=lambda path, why: told.append(path),
        )
    assert told == ["to/\\x1b]0;evil\\x07\\x0a"]
