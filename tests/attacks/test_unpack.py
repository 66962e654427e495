"""Layers that attack: what each tries, and what must come of it. Every case has a victim beside it, see ``scene``.

References: CVE-2014-6407, CVE-2014-9356, CVE-2018-15664, CVE-2019-10152, CVE-2021-32760 (paths and links),
CVE-2017-14992, CVE-2021-20291 (bombs), CVE-2007-4559, CVE-2024-12718, CVE-2025-4138, CVE-2025-4330, CVE-2025-4435,
CVE-2025-4517, CVE-2025-8194 (Python's tarfile), CVE-2025-62518 (sizes of PAX headers).
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from nsrun.errors import ImageError
from nsrun.images.limits import Limits
from tests.attacks.archives import Archive, gzipped, header, padded
from tests.attacks.conftest import MARKS, Scene

pytestmark = pytest.mark.root

BAD_SIZE = b"\xff" * 12  # base-256: -1


def tree(layer: Path) -> set[str]:
    return {str(path.relative_to(layer)) for path in layer.rglob("*")}


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def opaque(path: Path) -> bytes | None:
    try:
        return os.getxattr(path, f"{MARKS}opaque")
    except OSError:
        return None


# --- refused: the archive, and words of the sentence that says why

Build = Callable[[bytes], Archive]

REFUSED: dict[str, tuple[Build, str]] = {
    "dot-dot": (lambda victim: Archive().file(b"../victim/secret"), '".." in it'),
    "dot-dot-inside": (lambda victim: Archive().directory(b"a").file(b"a/../b"), '".." in it'),
    "dot-dot-deep": (lambda victim: Archive().file(b"a/../../victim/secret"), '".." in it'),
    "slash-dot-dot": (lambda victim: Archive().file(b"/../victim/secret"), '".." in it'),
    "dot-slash-slash-dot-dot": (lambda victim: Archive().file(b".//../victim/secret"), '".." in it'),
    "dot-dot-directory": (lambda victim: Archive().directory(b"../victim/sub", mode=0o777), '".." in it'),
    "dot-dot-alone": (lambda victim: Archive().directory(b"..", mode=0o777), '".." in it'),
    "dot-dot-by-pax": (lambda victim: Archive().pax({b"path": b"../victim/secret"}).file(b"ok"), '".." in it'),
    "dot-dot-by-gnu": (lambda victim: Archive().long_name(b"../victim/secret").file(b"ok"), '".." in it'),
    "dot-dot-by-prefix": (
        lambda victim: Archive().raw(header(b"secret", prefix=b"../victim", size=1) + padded(b"x")),
        '".." in it',
    ),
    "hard-link-dot-dot": (lambda victim: Archive().hard_link(b"a", b"../victim/shadow"), '".." in it'),
    "hard-link-absolute": (lambda victim: Archive().hard_link(b"a", victim + b"/shadow"), "does not have"),
    "hard-link-through-link": (
        lambda victim: Archive().symlink(b"s", victim).hard_link(b"a", b"s/shadow"),
        "does not have",
    ),
    "hard-link-through-dot-dot-link": (
        lambda victim: Archive().symlink(b"s", b"../victim").hard_link(b"a", b"s/shadow"),
        "does not have",
    ),
    "hard-link-to-root": (lambda victim: Archive().hard_link(b"a", b"/"), "root directory"),
    "hard-link-to-directory": (lambda victim: Archive().directory(b"d").hard_link(b"a", b"d"), "to a directory"),
    "hard-link-to-itself": (lambda victim: Archive().file(b"a").hard_link(b"a", b"./a"), "to itself"),
    "hard-link-to-whiteout": (lambda victim: Archive().file(b".wh.a").hard_link(b"b", b"a"), "does not have"),
    "root-as-link": (lambda victim: Archive().symlink(b"./", victim), "replace the root directory"),
    "root-as-file": (lambda victim: Archive().file(b"/"), "replace the root directory"),
    "file-under-absolute-link": (
        lambda victim: Archive().symlink(b"s", victim).file(b"s/secret"),
        "link to nothing in this layer",
    ),
    "file-under-relative-link": (
        lambda victim: Archive().symlink(b"s", b"../victim").file(b"s/secret"),
        "link to nothing in this layer",
    ),
    "file-under-chain-of-links": (
        lambda victim: Archive().symlink(b"a", b"..").symlink(b"b", b"a/victim").file(b"b/secret"),
        "link to nothing in this layer",
    ),
    "file-under-looping-links": (
        lambda victim: Archive().symlink(b"a", b"b").symlink(b"b", b"a").file(b"a/x"),
        "ELOOP",
    ),
    "file-under-proc-link": (
        lambda victim: Archive().symlink(b"s", b"/proc/self/root").file(b"s/etc/x"),
        "link to nothing in this layer",
    ),
    "whiteout-under-link": (
        lambda victim: Archive().symlink(b"s", victim).file(b"s/.wh.secret"),
        "link to nothing in this layer",
    ),
    "opaque-under-link": (
        lambda victim: Archive().symlink(b"s", victim).file(b"s/.wh..wh..opq"),
        "link to nothing in this layer",
    ),
    "file-under-file": (lambda victim: Archive().file(b"f").file(b"f/x"), "not a directory in this layer"),
    "whiteout-of-nothing": (lambda victim: Archive().file(b".wh."), "must name something"),
    "whiteout-of-dot": (lambda victim: Archive().file(b".wh.."), "must name something"),
    "whiteout-of-dot-dot": (lambda victim: Archive().file(b"a/.wh..."), "must name something"),
    "whiteout-as-directory": (lambda victim: Archive().file(b".wh.a/b"), 'begins with ".wh."'),
    "empty-link": (lambda victim: Archive().symlink(b"s", b""), "link to nothing"),
    "nul-in-pax-path": (lambda victim: Archive().pax({b"path": b"a\0b"}).file(b"x"), "NUL"),
    "nul-in-xattr": (lambda victim: Archive().pax({b"SCHILY.xattr.user.a\0b": b"x"}).file(b"x"), "NUL"),
    "long-name": (lambda victim: Archive().long_name(b"a" * 256).file(b"x"), "longer than 255 bytes"),
    "long-path": (lambda victim: Archive().long_name(b"a/" * 3000).file(b"x"), "longer than 4095 bytes"),
    "long-target": (lambda victim: Archive().long_name(b"a/" * 3000, b"K").symlink(b"x", b""), "longer than 4095"),
    "deep-path": (lambda victim: Archive().long_name(b"a/" * 513 + b"f").file(b"x"), "deeper than 512"),
    "huge-pax": (
        lambda victim: Archive().raw(header(b"p", kind=b"x", size=1 << 30)),
        "extended header is larger than",
    ),
    "huge-gnu-name": (
        lambda victim: Archive().raw(header(b"p", kind=b"L", size=1 << 30)),
        "extended header is larger than",
    ),
    "huge-global": (lambda victim: Archive().raw(header(b"p", kind=b"g", size=1 << 30)), "extended header is larger"),
    "negative-size": (lambda victim: Archive().raw(header(b"f", size=BAD_SIZE)), "out of range"),
    "negative-pax-header-size": (lambda victim: Archive().raw(header(b"f", kind=b"x", size=BAD_SIZE)), "out of range"),
    "negative-size-octal": (lambda victim: Archive().raw(header(b"f", size=b"-0000000777")), "malformed"),
    "negative-size-by-pax": (lambda victim: Archive().pax({b"size": b"-512"}).file(b"f"), "malformed"),
    "size-beyond-the-world": (lambda victim: Archive().raw(header(b"f", size=b"\x80" + b"\xff" * 11)), "out of range"),
    "size-with-underscore": (lambda victim: Archive().raw(header(b"f", size=b"0000000_777")), "malformed"),
    "size-not-octal": (lambda victim: Archive().raw(header(b"f", size=b"00000000789")), "malformed"),
    "owner-out-of-range": (lambda victim: Archive().pax({b"uid": b"4294967295"}).file(b"f"), "owner is out of range"),
    "negative-owner": (lambda victim: Archive().file(b"f", uid=b"\xff" * 8), "out of range"),
    "time-out-of-range": (lambda victim: Archive().pax({b"mtime": b"9" * 18}).file(b"f"), "time is out of range"),
    "broken-time": (lambda victim: Archive().pax({b"mtime": b"1e3"}).file(b"f"), "malformed"),
    "broken-pax-length": (lambda victim: Archive().raw(pax(b"99 path=x\n")).file(b"f"), "PAX record is malformed"),
    "broken-pax-zero": (lambda victim: Archive().raw(pax(b"0 path=x\n")).file(b"f"), "PAX record is malformed"),
    "broken-pax-end": (lambda victim: Archive().raw(pax(b"10 path=xyz")).file(b"f"), "PAX record is malformed"),
    "broken-pax-key": (lambda victim: Archive().raw(pax(b"6 =ab\n")).file(b"f"), "PAX record is malformed"),
    "global-path": (lambda victim: Archive().pax({b"path": b"x"}, b"g").file(b"f"), "global header"),
    "unknown-type": (lambda victim: Archive().raw(header(b"f", kind=b"V")), "unknown type"),
    "bad-checksum": (lambda victim: Archive().raw(header(b"f", checksum=b"000000\0 ")), "checksum"),
    "zeros-between": (lambda victim: Archive().raw(bytes(512)).file(b"f"), "zeros lies between"),
    "pax-without-entry": (lambda victim: Archive().pax({b"path": b"x"}), "middle of an entry"),
    "sparse-unknown": (
        lambda victim: Archive().pax({b"GNU.sparse.major": b"2"}).file(b"f"),
        "sparse file is of an unknown format",
    ),
    "sparse-map-cut-off": (
        lambda victim: Archive().pax({b"GNU.sparse.major": b"1"}).file(b"f", b"9\n" * 10),
        "map of a sparse file is cut off",
    ),
    "sparse-items-out-of-order": (
        lambda victim: Archive().pax({b"GNU.sparse.numbytes": b"1", b"GNU.sparse.offset": b"1"}).file(b"f"),
        "out of order",
    ),
    "sparse-old-endless": (lambda victim: Archive().raw(old_sparse() + sparse_block() * 4000), "too long"),
    "time-of-dots": (lambda victim: Archive().pax({b"mtime": b"1.2.3"}).file(b"f"), "malformed"),
    "sparse-map-outside": (lambda victim: sparse(b"0,1", b"1", realsize=b"0"), "does not fit"),
    "sparse-map-overlap": (lambda victim: sparse(b"0,2,1,2", b"abcd", realsize=b"9"), "out of order"),
    "sparse-map-odd": (lambda victim: sparse(b"0,1,2", b"a", realsize=b"9"), "damaged"),
    "sparse-map-negative": (lambda victim: sparse(b"-1,1", b"a", realsize=b"9"), "damaged"),
    "sparse-map-short": (lambda victim: sparse(b"0,1", b"ab", realsize=b"9"), "does not fit"),
}


def pax(content: bytes) -> bytes:
    return header(b"p", kind=b"x", size=len(content)) + padded(content)


def sparse(regions: bytes, data: bytes, *, realsize: bytes) -> Archive:
    return Archive().pax({b"GNU.sparse.map": regions, b"GNU.sparse.size": realsize}).file(b"f", data)


def old_sparse() -> bytes:
    """GNU's old header, whose map goes on in the next block."""
    block = bytearray(header(b"f", kind=b"S", magic=b"ustar  \0"))
    block[482], block[483:495] = 1, b"00000000000\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def sparse_block() -> bytes:
    return b"00000000000\0" * 42 + b"\1" + bytes(7)


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_archives_are_refused(scene: Scene, name: str) -> None:
    build, words = REFUSED[name]
    with pytest.raises(ImageError) as refusal:
        scene.unpack(build(scene.victim_bytes).bytes())
    assert words in refusal.value.message
    assert refusal.value.message.startswith("cannot unpack layer sha256:")


# --- taken, but nothing comes of the attack


def test_absolute_names_are_inside(scene: Scene) -> None:
    scene.unpack(Archive().file(scene.victim_bytes + b"/secret", b"mine").bytes())
    assert (scene.layer / str(scene.victim)[1:] / "secret").read_text() == "mine"


def test_links_in_a_path_lead_into_the_layer(scene: Scene) -> None:
    """An absolute link, and one that climbs out, mean what they mean to a container."""
    inside = scene.victim_bytes[1:]
    archive = (
        Archive().directory(inside).symlink(b"s", scene.victim_bytes).symlink(b"t", b"../../../.." + scene.victim_bytes)
    )
    scene.unpack(archive.file(b"s/secret", b"mine").file(b"t/.wh.shadow").file(b"t/sub", b"mine").bytes())
    assert (scene.layer / os.fsdecode(inside) / "secret").read_text() == "mine"
    assert is_whiteout(scene.layer / os.fsdecode(inside) / "shadow")


def test_directory_entry_replaces_a_link(scene: Scene) -> None:
    """What a directory entry says about mode and owner must not reach through a link of the same name."""
    scene.unpack(Archive().symlink(b"s", scene.victim_bytes).directory(b"s", mode=0o777).file(b"s/secret").bytes())
    assert not (scene.layer / "s").is_symlink()
    assert (scene.layer / "s" / "secret").read_text() == "x"


def test_file_entry_replaces_a_link(scene: Scene) -> None:
    scene.unpack(Archive().symlink(b"s", scene.victim_bytes + b"/secret").file(b"s", b"mine", mode=0o777).bytes())
    assert (scene.layer / "s").read_text() == "mine"
    assert not (scene.layer / "s").is_symlink()


def test_known_directories_are_forgotten_when_a_link_takes_their_place(scene: Scene) -> None:
    """The cache of parents must not lead into a directory that a later entry removed or replaced."""
    archive = Archive().file(b"a/b/1").symlink(b"a", b"c").directory(b"c/b").file(b"a/b/2")
    scene.unpack(archive.symlink(b"a", b"d").directory(b"d/b").file(b"a/b/3").bytes())
    assert tree(scene.layer) == {"a", "c", "c/b", "c/b/2", "d", "d/b", "d/b/3"}


def test_replacing_a_tree_with_a_link_removes_nothing_behind_links(scene: Scene) -> None:
    archive = Archive().directory(b"d/e").symlink(b"d/e/out", scene.victim_bytes).symlink(b"d/up", b"../../victim")
    scene.unpack(archive.file(b"d").bytes())
    assert tree(scene.layer) == {"d"}


def test_hard_link_to_a_link_links_the_link(scene: Scene) -> None:
    shadow = scene.victim_bytes + b"/shadow"
    scene.unpack(Archive().symlink(b"s", shadow).hard_link(b"h", b"s").file(b"h", b"mine", mode=0o777).bytes())
    assert os.readlink(scene.layer / "s") == str(scene.victim / "shadow")
    assert (scene.layer / "h").read_text() == "mine"


def test_hard_link_to_a_link_does_not_give_what_it_points_to(scene: Scene) -> None:
    for target in (scene.victim_bytes + b"/shadow", b"../../victim/shadow"):
        scene.unpack(Archive().symlink(b"s", target).hard_link(b"h", b"s").bytes())
        assert os.readlink(scene.layer / "h") == os.fsdecode(target)
    assert (scene.victim / "shadow").stat().st_nlink == 1


def test_hard_link_header_changes_no_owner_or_mode(scene: Scene) -> None:
    link = header(b"h", kind=b"1", link=b"f", mode=0o4777, uid=1)
    scene.unpack(Archive().file(b"f", mode=0o600).raw(link).bytes())
    status = (scene.layer / "f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_nlink) == (0o600, 0, 2)


def test_set_user_id_does_not_survive_a_write_through_a_hard_link(scene: Scene) -> None:
    scene.unpack(Archive().file(b"su", b"old", mode=0o4755).hard_link(b"h", b"su").file(b"h", b"new").bytes())
    assert (scene.layer / "su").read_text() == "old"
    assert (scene.layer / "h").read_text() == "new"


def test_last_of_equal_names_wins(scene: Scene) -> None:
    scene.unpack(
        Archive().file(b"f", b"1").file(b"./f", b"2").directory(b"f").file(b"/f//x").symlink(b"f", b"y").bytes()
    )
    assert os.readlink(scene.layer / "f") == "y"


def test_devices_become_whiteouts_unless_harmless(scene: Scene) -> None:
    archive = Archive().node(b"disk", b"4", 8, 0).node(b"mem", b"3", 1, 1).node(b"null", b"3", 1, 3).node(b"pipe", b"6")
    scene.unpack(archive.node(b"kmsg", b"3", 1, 11).node(b"loop", b"4", 1, 3).bytes())
    assert [is_whiteout(scene.layer / name) for name in ("disk", "mem", "kmsg", "loop")] == [True] * 4
    null = (scene.layer / "null").lstat()
    assert (stat.S_ISCHR(null.st_mode), null.st_rdev) == (True, os.makedev(1, 3))
    assert stat.S_ISFIFO((scene.layer / "pipe").lstat().st_mode)


def test_attributes_that_overlayfs_reads_are_dropped(scene: Scene) -> None:
    records = {
        b"SCHILY.xattr.trusted.overlay.redirect": b"/../../etc",
        b"SCHILY.xattr.trusted.overlay.opaque": b"y",
        b"SCHILY.xattr.trusted.overlay.metacopy": b"",
        b"SCHILY.xattr.user.overlay.redirect": b"/../../etc",
        b"SCHILY.xattr.trusted.other": b"x",
        b"SCHILY.xattr.security.selinux": b"x",
        b"SCHILY.xattr.system.posix_acl_access": b"x",
    }
    scene.unpack(Archive().pax(records).directory(b"d").pax(records).file(b"f").pax(records).directory(b"./").bytes())
    for path in (scene.layer, scene.layer / "d", scene.layer / "f"):
        assert os.listxattr(path) == []


def test_capabilities_of_files_are_kept(scene: Scene) -> None:
    """VFS_CAP_REVISION_2, effective, CAP_NET_RAW permitted: as ``setcap cap_net_raw+ep`` writes it."""
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    record = {b"SCHILY.xattr.security.capability": value}
    scene.unpack(Archive().pax(record).raw(header(b"ping", size=1, uid=7, mode=0o4755) + padded(b"x")).bytes())
    assert os.getxattr(scene.layer / "ping", "security.capability") == value
    assert stat.S_IMODE((scene.layer / "ping").stat().st_mode) == 0o4755


def test_pax_size_counts_for_the_entry_and_for_nothing_else(scene: Scene) -> None:
    """An inner archive in a file's data must not be read as entries when the two sizes of the outer one disagree."""
    inner = Archive().file(b"smuggled", b"y").bytes(end=False)
    outer = header(b"data.tar", size=0) + padded(inner)
    scene.unpack(Archive().pax({b"size": b"%d" % len(inner)}).raw(outer).file(b"after").bytes())
    assert tree(scene.layer) == {"data.tar", "after"}
    assert (scene.layer / "data.tar").read_bytes() == inner


def test_size_of_what_has_no_data_is_not_believed(scene: Scene) -> None:
    directory = header(b"d", kind=b"5", size=512)
    scene.unpack(Archive().raw(directory).file(b"after").bytes())
    assert tree(scene.layer) == {"d", "after"}


# --- whiteouts


def test_whiteouts_take_overlay_form(scene: Scene) -> None:
    archive = (
        Archive().file(b"a/.wh.gone").file(b"b/.wh..wh..opq").file(b"b/new").file(b".wh..wh.plnk").file(b"a/.wh.x y")
    )
    scene.unpack(archive.bytes())
    assert tree(scene.layer) == {"a", "a/gone", "a/x y", "b", "b/new"}
    assert is_whiteout(scene.layer / "a" / "gone")
    assert opaque(scene.layer / "b") == b"y"
    assert opaque(scene.layer / "a") is None


@pytest.mark.parametrize("first", ["whiteout", "directory"])
def test_whiteout_beside_a_directory_of_the_same_layer_makes_it_opaque(scene: Scene, first: str) -> None:
    whiteout, directory = Archive().file(b".wh.d").bytes(end=False), Archive().directory(b"d").bytes(end=False)
    pair = whiteout + directory if first == "whiteout" else directory + whiteout
    scene.unpack(Archive().raw(pair).file(b"d/new").bytes())
    assert tree(scene.layer) == {"d", "d/new"}
    assert opaque(scene.layer / "d") == b"y"


def test_whiteout_before_an_implied_directory_makes_it_opaque(scene: Scene) -> None:
    scene.unpack(Archive().file(b".wh.d").file(b"d/e/new").bytes())
    assert tree(scene.layer) == {"d", "d/e", "d/e/new"}
    assert opaque(scene.layer / "d") == b"y"


@pytest.mark.parametrize("first", ["whiteout", "file"])
def test_whiteout_spares_a_file_of_the_same_layer(scene: Scene, first: str) -> None:
    archive = Archive().file(b".wh.f").file(b"f", b"kept")
    if first == "file":
        archive.blocks.reverse()
    scene.unpack(archive.bytes())
    assert (scene.layer / "f").read_text() == "kept"


# --- bombs and broken streams


def zeros(size: int) -> bytes:
    """An archive of one file full of zeros, compressed as it is made."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    pieces = [compressor.compress(header(b"zeros", size=size))]
    pieces += [compressor.compress(block) for _ in range(size >> 20)]
    return b"".join([*pieces, compressor.flush()])


def test_gzip_bomb_is_stopped_early(scene: Scene) -> None:
    """10 GiB from 10 MiB at the default limits; here with a tenth of it, so that the test is quick."""
    with pytest.raises(ImageError, match="decompression bomb"):
        scene.unpack(b"", blob=zeros(1 << 30), limits=Limits(ratio_from=64 << 20), expected=f"sha256:{'0' * 64}")
    assert (scene.layer / "zeros").stat().st_size <= 70 << 20


def test_zstd_bomb_is_stopped_early(scene: Scene) -> None:
    tar = header(b"zeros", size=1 << 28) + bytes(1 << 28)
    with pytest.raises(ImageError, match="decompression bomb"):
        scene.unpack(tar, blob=zstandard.compress(tar), limits=Limits(ratio_from=64 << 20))
    assert (scene.layer / "zeros").stat().st_size <= 70 << 20


def test_size_of_all_is_bounded(scene: Scene) -> None:
    tar = Archive().file(b"f").bytes() + bytes(4 << 20)
    with pytest.raises(ImageError, match="larger than 1048576 bytes uncompressed"):
        scene.unpack(tar, limits=Limits(size=1 << 20))


def test_size_of_files_is_bounded_before_they_are_written(scene: Scene) -> None:
    with pytest.raises(ImageError, match="files of the layer are larger"):
        scene.unpack(Archive().raw(header(b"f", size=1 << 32)).bytes(), limits=Limits(size=1 << 20))
    assert (scene.layer / "f").stat().st_size == 0


def test_size_of_sparse_files_is_bounded(scene: Scene) -> None:
    with pytest.raises(ImageError, match="files of the layer are larger"):
        scene.unpack(sparse(b"0,1", b"x", realsize=b"%d" % (1 << 62)).bytes())


def test_blocks_of_an_old_sparse_map_are_bounded_though_nothing_is_in_them(scene: Scene) -> None:
    empty = bytes(504) + b"\1" + bytes(7)
    with pytest.raises(ImageError, match="map of a sparse file is too long"):
        scene.unpack(old_sparse() + empty * 20 + bytes(2048), limits=Limits(sparse_pieces=10))


def test_number_of_entries_is_bounded(scene: Scene) -> None:
    archive = Archive().raw(header(b"d", kind=b"5") * 2000)
    with pytest.raises(ImageError, match="more than 1000 entries"):
        scene.unpack(archive.bytes(), limits=Limits(entries=1000))


def test_extended_headers_count_as_entries(scene: Scene) -> None:
    archive = Archive().raw(header(b"p", kind=b"g") * 2000)
    with pytest.raises(ImageError, match="more than 1000 entries"):
        scene.unpack(archive.bytes(), limits=Limits(entries=1000))


def test_zstd_window_is_bounded(scene: Scene) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    tar = Archive().file(b"f", os.urandom(4096)).bytes()
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    blob = compressor.compress(tar) + compressor.flush()
    with pytest.raises(ImageError, match="too large a window"):
        scene.unpack(tar, blob=blob)


def truncated() -> Iterator[tuple[str, bytes, bytes]]:
    tar = Archive().file(b"f", os.urandom(100_000)).bytes()
    yield "plain-in-data", tar, tar[:50_000]
    yield "plain-in-header", tar, tar[:300]
    yield "gzip", tar, gzipped(tar)[:-9]
    yield "gzip-trailer", tar, gzipped(tar)[:-1]


@pytest.mark.parametrize(("tar", "blob"), [pytest.param(tar, blob, id=name) for name, tar, blob in truncated()])
def test_cut_off_layers_are_refused(scene: Scene, tar: bytes, blob: bytes) -> None:
    with pytest.raises(ImageError, match="cut off"):
        scene.unpack(tar, blob=blob)


TAIL = Archive().file(b"f").bytes()


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        pytest.param(gzipped(TAIL) + b"garbage", "something follows", id="gzip-garbage"),
        pytest.param(gzipped(TAIL) + bytes(10), "something follows", id="gzip-zeros"),
        pytest.param(gzipped(TAIL)[:-8] + bytes(8), "damaged", id="gzip-checksum"),
        pytest.param(zstandard.compress(TAIL) + b"garbage", "damaged", id="zstd-garbage"),
        pytest.param(zstandard.compress(TAIL)[:-5], "its content is sha256:", id="zstd-cut-off"),
        pytest.param(b"\x1f\x8b\x08\x00garbage and more of it", "damaged", id="gzip-damaged"),
        pytest.param(b"garbage" * 100, "malformed", id="no-tar"),
        pytest.param(TAIL + b"garbage", "its content is sha256:", id="tar-garbage"),
        pytest.param(gzipped(TAIL) + gzipped(b"garbage"), "its content is sha256:", id="second-member"),
        pytest.param(zstandard.compress(TAIL) * 2, "its content is sha256:", id="second-frame"),
        pytest.param(TAIL[:-512], "its content is sha256:", id="short-end"),
        pytest.param(b"", "its content is sha256:", id="empty"),
    ],
)
def test_another_content_than_the_diff_id_says_is_refused(scene: Scene, blob: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        scene.unpack(TAIL, blob=blob)


def test_what_follows_the_end_counts_for_the_diff_id_and_is_not_read(scene: Scene) -> None:
    scene.unpack(TAIL + Archive().file(b"hidden").bytes())
    assert tree(scene.layer) == {"f"}


def test_error_names_layer_entry_and_cause(scene: Scene) -> None:
    with pytest.raises(ImageError) as refusal:
        scene.unpack(Archive().file(b"ok").file(b"a\x1b[31m/../b\n").bytes())
    words = r'^cannot unpack layer sha256:[0-9a-f]{12}: entry "a\\x1b\[31m/../b\\x0a": its path has ".." in it$'
    assert refusal.match(words)


def test_directories_that_no_entry_lists_are_always_the_same(scene: Scene) -> None:
    """Made by root for all to read, without the set-group-ID of the one above, and dated 1970: always the same."""
    scene.unpack(Archive().directory(b"g", mode=0o2770).file(b"g/h/i/f").bytes())
    for path in (scene.layer, scene.layer / "g" / "h", scene.layer / "g" / "h" / "i"):
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns) == (0o755, 0, 0, 0)
