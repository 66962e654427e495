"""The tar reader reads what others write: Python's tarfile, GNU tar, and what hypothesis thinks of."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.images.limits import DEFAULT_LIMITS, Limits
from nsrun.images.tarstream import ByteStream, Entry, Kind, TarError, TarReader
from tests.attacks.archives import Archive, header
from tests.waiting import fewer

SMALL = Limits(entries=100, header=1 << 16, sparse_pieces=100)


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def read(data: bytes, *, chunk: int = 1 << 20, limits: Limits = DEFAULT_LIMITS) -> list[tuple[Entry, bytes]]:
    reader = TarReader(ByteStream(chunked(data, chunk)), limits=limits)
    return [(entry, b"".join(reader.data())) for entry in reader]


KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.LNKTYPE: Kind.HARD_LINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.FIFO,
}

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)


@st.composite
def members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(draw(NAMES))
    member.type = draw(st.sampled_from(sorted(KINDS)))
    content = draw(st.binary(max_size=1500)) if member.type == tarfile.REGTYPE else b""
    member.size = len(content)
    member.mode = draw(st.integers(0, 0o7777))
    member.uid = draw(st.sampled_from([0, 1000, 0o7777777, 0o10000000, 0xFFFFFFFE]))
    member.gid = draw(st.sampled_from([0, 5, 0xFFFFFFFE]))
    member.mtime = draw(st.sampled_from([0, 1, 1_700_000_000, 0o77777777777, 0o100000000000]))
    if member.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        member.linkname = draw(NAMES)
    if member.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        member.devmajor, member.devminor = draw(st.tuples(st.integers(0, 4095), st.integers(0, 65535)))
    return member, content


@settings(deadline=None, max_examples=fewer(150))
@given(st.lists(members(), max_size=6), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.integers(1, 3000))
def test_reads_what_tarfile_writes(entries: list[tuple[tarfile.TarInfo, bytes]], form: int, chunk: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for member, content in entries:
            archive.addfile(member, io.BytesIO(content))
    found = read(buffer.getvalue(), chunk=chunk)
    assert len(found) == len(entries)
    for (entry, data), (member, content) in zip(found, entries, strict=True):
        assert entry.path.rstrip(b"/") == member.name.encode().rstrip(b"/")
        assert (entry.kind, data, entry.size) == (KINDS[member.type], content, member.size)
        assert (entry.mode, entry.uid, entry.gid) == (member.mode, member.uid, member.gid)
        assert entry.mtime == member.mtime * 1_000_000_000
        assert entry.target == (member.linkname.encode() if member.linkname else b"")
        if entry.kind in (Kind.CHARACTER, Kind.BLOCK):
            assert entry.device == (member.devmajor, member.devminor)


@settings(deadline=None, max_examples=fewer(300))
@given(st.randoms(use_true_random=False), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_damage_is_an_error_or_an_archive(chance: random.Random, form: int) -> None:
    """Whatever the bytes: TarError or entries, soon, and never more data than there is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in ("a", "b" * 150, "c"):
            member = tarfile.TarInfo(name)
            member.size = 700
            member.pax_headers = {"SCHILY.xattr.user.x": "1", "mtime": "1.5"} if form == tarfile.PAX_FORMAT else {}
            archive.addfile(member, io.BytesIO(bytes(700)))
    data = bytearray(buffer.getvalue())
    block = chance.randrange(0, len(data), 512)
    for _ in range(chance.randrange(1, 4)):
        data[block + chance.randrange(512)] = chance.randrange(256)
    data[block + 148 : block + 156] = b"%06o\0 " % (
        sum(data[block : block + 512]) - sum(data[block + 148 : block + 156]) + 256
    )
    try:
        found = read(bytes(data), limits=SMALL)
    except TarError:
        return
    assert sum(len(content) for _, content in found) <= len(data)


@settings(deadline=None, max_examples=fewer(200))
@given(st.binary(max_size=2000))
def test_noise_is_an_error_or_an_archive(noise: bytes) -> None:
    try:
        read(noise, limits=SMALL)
    except TarError:
        pass


# --- real writers


def fill(top: Path) -> None:
    (top / "d").mkdir()
    (top / "d" / "file").write_bytes(os.urandom(5000))
    (top / "d" / ("long" * 40)).write_text("x")
    (top / "d" / "ünïcode").write_text("y")
    (top / "link").symlink_to("d/" + "target" * 30)
    os.link(top / "d" / "file", top / "hard")
    os.mkfifo(top / "fifo")
    (top / "empty").touch()
    os.utime(top / "empty", ns=(0, 1_234_567_890_123_456_789))
    with (top / "holes").open("wb") as holes:
        for at in (0, 1 << 20, 5 << 20, 9 << 20, 13 << 20, 30 << 20):
            holes.seek(at)
            holes.write(b"data")
        holes.truncate(40 << 20)


FORMATS: dict[str, list[str]] = {
    "ustar": ["--format=ustar", "--exclude=*longlong*", "--exclude=link"],
    "gnu": ["--format=gnu"],
    "gnu-sparse": ["--format=gnu", "--sparse"],
    "pax": ["--format=pax"],
    "pax-sparse-0.0": ["--format=pax", "--sparse", "--sparse-version=0.0"],
    "pax-sparse-0.1": ["--format=pax", "--sparse", "--sparse-version=0.1"],
    "pax-sparse-1.0": ["--format=pax", "--sparse", "--sparse-version=1.0"],
    "oldgnu": ["--format=oldgnu"],
    "v7": ["--format=v7", "--exclude=*longlong*", "--exclude=link", "--exclude=fifo"],
}


def spread(entry: Entry, data: bytes) -> bytes:
    """The content of a sparse file."""
    if entry.regions is None:
        return data
    content, at = bytearray(entry.size), 0
    for offset, length in entry.regions:
        content[offset : offset + length] = data[at : at + length]
        at += length
    assert at == len(data) == entry.stored
    return bytes(content)


@pytest.mark.parametrize("form", FORMATS)
def test_reads_what_gnu_tar_writes(tmp_path: Path, tool: Callable[[str], str], form: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    fill(source)
    options = [*FORMATS[form], "--numeric-owner", "--sort=name", "-C", str(source)]
    written = subprocess.run([tool("tar"), "-cf", "-", *options, "."], check=True, capture_output=True).stdout
    found = {os.fsdecode(entry.path).removeprefix("./").rstrip("/"): (entry, data) for entry, data in read(written)}
    expected = {str(p.relative_to(source)) for p in source.rglob("*")} | {""}
    assert expected - found.keys() <= {"link", "fifo", "d/" + "long" * 40}
    for name, (entry, data) in found.items():
        status = (source / name).lstat()
        assert (entry.mode, entry.uid, entry.gid) == (status.st_mode & 0o7777, status.st_uid, status.st_gid)
        exact = form.startswith("pax")
        assert entry.mtime == (status.st_mtime_ns if exact else status.st_mtime_ns // 10**9 * 10**9)
        if entry.kind is Kind.FILE:
            assert spread(entry, data) == (source / name).read_bytes()
        if entry.kind is Kind.SYMLINK:
            assert entry.target == os.fsencode(os.readlink(source / name))
    if "sparse" in form:
        assert found["holes"][0].regions is not None
        assert found["holes"][0].stored < 1 << 20


# --- what only old or odd writers do


def test_signed_checksums_are_good() -> None:
    block = bytearray(header(b"\xe9\xe9", size=0))
    signed = sum(b - 256 if b > 127 else b for i, b in enumerate(block) if not 148 <= i < 156) + 256
    block[148:156] = b"%06o\0 " % signed
    assert read(bytes(block))[0][0].path == b"\xe9\xe9"


def test_times_are_exact() -> None:
    for text, expected in (
        (b"1.5", 1_500_000_000),
        (b"-1.25", -1_250_000_000),
        (b"0.0000000019", 1),
        (b"7", 7 * 10**9),
    ):
        assert read(Archive().pax({b"mtime": text}).file(b"f").bytes())[0][0].mtime == expected


def test_gnu_long_names_are_nearer_than_pax_and_pax_than_the_header() -> None:
    archive = (
        Archive().pax({b"path": b"pax", b"linkpath": b"pax-target"}).long_name(b"gnu").symlink(b"ustar", b"target")
    )
    entry = read(archive.bytes())[0][0]
    assert (entry.path, entry.target) == (b"gnu", b"pax-target")


def test_empty_pax_value_takes_a_record_back() -> None:
    assert read(Archive().pax({b"path": b""}).file(b"f").bytes())[0][0].path == b"f"


def test_comment_of_git_is_no_matter() -> None:
    assert read(Archive().pax({b"comment": b"0123"}, b"g").file(b"f").bytes())[0][0].path == b"f"


def test_archive_may_end_without_its_end() -> None:
    assert len(read(Archive().file(b"f").bytes(end=False))) == 1
    assert len(read(Archive().file(b"f").bytes(end=False) + bytes(512))) == 1


def test_unread_data_is_skipped() -> None:
    data = Archive().file(b"a", bytes(10_000)).file(b"b").bytes()
    reader = TarReader(ByteStream(chunked(data, 777)), limits=DEFAULT_LIMITS)
    assert [entry.path for entry in reader] == [b"a", b"b"]
