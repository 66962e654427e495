"""The directory of layers: once, whole, private, and gone when asked; also when something dies halfway."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from nsrun.errors import ImageError
from nsrun.images.growth import BlobReader, Growth, ReadCancelled
from nsrun.images.layers import Layers, read_rootfs_file
from nsrun.images.limits import Limits
from nsrun.support.fds import Fd
from tests.attacks.archives import Archive, diff_id, gzipped, header
from tests.attacks.conftest import snapshot
from tests.waiting import eventually_async

pytestmark = pytest.mark.root

TAR = "application/vnd.oci.image.layer.v1.tar"
GZIP = f"{TAR}+gzip"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "layers"


@pytest.fixture
def layers(root: Path) -> Layers:
    return Layers(root)


def blob(tmp_path: Path, archive: Archive) -> tuple[Path, str]:
    """The archive as a compressed blob, and its diff_id."""
    tar = archive.bytes()
    path = tmp_path / f"blob-{hashlib.sha256(tar).hexdigest()[:8]}"
    path.write_bytes(gzipped(tar))
    return path, diff_id(tar)


def big(size: int = 8 << 20) -> Archive:
    """A layer of many chunks."""
    archive = Archive()
    for number in range(size >> 20):
        archive.file(b"f%d" % number, os.urandom(1 << 20))
    return archive


async def test_unpacks_once(tmp_path: Path, root: Path, layers: Layers) -> None:
    source, name = blob(tmp_path, Archive().directory(b"./", mode=0o711).file(b"etc/passwd", b"root\n"))
    paths = await asyncio.gather(*(layers.ensure(blob=source, media_type=GZIP, diff_id=name) for _ in range(5)))
    assert set(paths) == {root / "sha256" / name.removeprefix("sha256:") / "diff"} == {layers.path(name)}
    assert (paths[0] / "etc" / "passwd").read_text() == "root\n"
    source.unlink()
    assert await layers.ensure(blob=source, media_type=GZIP, diff_id=name) == paths[0]
    assert await Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name) == paths[0]
    assert (await layers.list(), await layers.size(name)) == ((name,), 5)


async def test_nobody_else_reaches_the_files(tmp_path: Path, root: Path, layers: Layers) -> None:
    """Set-user-ID programs of images are not for the users of this machine (CVE-2021-41103)."""
    source, name = blob(tmp_path, Archive().directory(b"./", mode=0o711).file(b"su", mode=0o4755))
    path = await layers.ensure(blob=source, media_type=GZIP, diff_id=name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o711
    assert stat.S_IMODE((path / "su").stat().st_mode) == 0o4755
    for parent in (path.parent, root / "sha256", root / "tmp", root):
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700


async def test_default_root_is_like_any_slash(tmp_path: Path, layers: Layers) -> None:
    source, name = blob(tmp_path, Archive().file(b"f"))
    status = (await layers.ensure(blob=source, media_type=GZIP, diff_id=name)).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, 0, 0)


async def test_refused_layers_leave_nothing(tmp_path: Path, root: Path, layers: Layers) -> None:
    source, name = blob(tmp_path, Archive().file(b"ok").file(b"../evil"))
    with pytest.raises(ImageError, match=r'entry "\.\./evil": its path has'):
        await layers.ensure(blob=source, media_type=GZIP, diff_id=name)
    other = diff_id(b"other")
    source, _ = blob(tmp_path, Archive().file(b"ok"))
    with pytest.raises(ImageError, match="its content is sha256:"):
        await layers.ensure(blob=source, media_type=GZIP, diff_id=other)
    assert sorted(p.name for p in root.rglob("*")) == ["tmp"]
    assert await layers.list() == ()


@pytest.mark.parametrize(
    "name", ["sha256:../../x", "sha256:" + "A" * 64, "md5:" + "0" * 32, "", "sha256:" + "0" * 64 + "\n"]
)
async def test_only_digests_become_directories(tmp_path: Path, layers: Layers, name: str) -> None:
    """CVE-2024-3727: a digest is a path."""
    for act in (layers.remove, layers.size):
        with pytest.raises(ImageError, match="cannot use layer"):
            await act(name)
    with pytest.raises(ImageError, match="cannot use layer"):
        await layers.ensure(blob=tmp_path / "blob", media_type=TAR, diff_id=name)


async def test_media_types_and_missing_blobs(tmp_path: Path, layers: Layers) -> None:
    source, name = blob(tmp_path, Archive().file(b"f"))
    with pytest.raises(ImageError, match=r'its media type "application/x\+encrypted" is not one of a layer'):
        await layers.ensure(blob=source, media_type="application/x+encrypted", diff_id=name)
    with pytest.raises(ImageError, match="ENOENT"):
        await layers.ensure(blob=tmp_path / "missing", media_type=GZIP, diff_id=name)


async def test_remove(tmp_path: Path, root: Path, layers: Layers) -> None:
    deep = Archive().long_name(b"d/" * 500 + b"f").file(b"x").symlink(b"l", b"d/" * 500)
    source, name = blob(tmp_path, deep.long_name(b"l/" + b"d/" * 400 + b"f").file(b"x"))
    await layers.ensure(blob=source, media_type=GZIP, diff_id=name)
    await layers.remove(name)
    await layers.remove(name)
    assert (await layers.list(), await layers.size(name)) == ((), 0)
    assert sorted(p.name for p in root.rglob("*")) == ["sha256", "tmp"]


async def test_cancelled_calls_stop_and_leave_nothing(tmp_path: Path, root: Path, layers: Layers) -> None:
    """The thread is told to stop, and waited for: nothing is being written any more when the call has ended."""
    source, name = blob(tmp_path, big())
    coming = Growth()
    coming.grow(3 << 20)  # and no more: it waits for what comes next
    reader = BlobReader(Fd.open(source, os.O_RDONLY), coming)
    task = asyncio.ensure_future(layers.take(lambda: reader, media_type=GZIP, diff_id=name))
    await eventually_async(lambda: bool(list(root.glob("tmp/*/diff/f1"))), what="it has begun")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(p.name for p in root.rglob("*")) == ["tmp"]
    assert (await layers.ensure(blob=source, media_type=GZIP, diff_id=name) / "f0").stat().st_size == 1 << 20


async def test_a_blob_is_unpacked_while_it_comes_and_anew_when_it_begins_anew(
    tmp_path: Path, root: Path, layers: Layers
) -> None:
    source, name = blob(tmp_path, big())
    other, _ = blob(tmp_path, Archive().file(b"other").file(b"f1", os.urandom(4 << 20)))
    under_way = tmp_path / "under-way"
    under_way.write_bytes(other.read_bytes()[: 3 << 20])
    coming = Growth()
    coming.grow(3 << 20)
    reader = BlobReader(Fd.open(under_way, os.O_RDONLY), coming)
    task = asyncio.ensure_future(layers.take(lambda: reader, media_type=GZIP, diff_id=name))
    await eventually_async(lambda: bool(list(root.glob("tmp/*/diff/other"))), what="it has begun")
    coming.restart()
    under_way.write_bytes(source.read_bytes())
    coming.grow(under_way.stat().st_size)
    coming.end(whole=True)
    assert sorted(p.name for p in (await task).iterdir()) == [f"f{n}" for n in range(8)]


async def test_a_blob_that_will_never_be_whole(tmp_path: Path, root: Path, layers: Layers) -> None:
    source, name = blob(tmp_path, big())
    coming = Growth()
    coming.grow(3 << 20)
    coming.end(whole=False)
    reader = BlobReader(Fd.open(source, os.O_RDONLY), coming)
    with pytest.raises(ReadCancelled):
        await layers.take(lambda: reader, media_type=GZIP, diff_id=name)
    assert sorted(p.name for p in root.rglob("*")) == ["tmp"]


STUCK = """
import asyncio, os, sys
from pathlib import Path
from nsrun.images.growth import BlobReader, Growth
from nsrun.images.growth import BlobReader, Growth, ReadCancelled
from nsrun.images.layers import Layers
from nsrun.support.fds import Fd

root, blob, diff_id = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
coming = Growth()
coming.grow(3 << 20)
reader = BlobReader(Fd.open(blob, os.O_RDONLY), coming)
gzip = "application/vnd.oci.image.layer.v1.tar+gzip"

async def main():
    task = asyncio.ensure_future(Layers(root).take(lambda: reader, media_type=gzip, diff_id=diff_id))
    while not list(root.glob("tmp/*/diff/f1")):
        await asyncio.sleep(0.01)
    print("stuck", flush=True)
    await task

asyncio.run(main())
"""


def test_what_a_killed_process_left_is_removed(tmp_path: Path, root: Path, repo: Path) -> None:
    source, name = blob(tmp_path, big())
    program = [sys.executable, "-c", STUCK, str(root), str(source), name]
    with subprocess.Popen(program, cwd=repo, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stuck\n"
        small, small_name = blob(tmp_path, Archive().file(b"f"))
        asyncio.run(Layers(root).ensure(blob=small, media_type=GZIP, diff_id=small_name))
        assert list(root.glob("tmp/*/diff/f1"))  # it is alive: its work is its own
        process.kill()
    asyncio.run(Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name))
    assert list((root / "tmp").iterdir()) == []
    assert set(asyncio.run(Layers(root).list())) == {name, small_name}


async def test_a_layer_that_another_process_makes_is_waited_for(
    tmp_path: Path, root: Path, layers: Layers, repo: Path
) -> None:
    source, name = blob(tmp_path, big())
    program = [sys.executable, "-c", STUCK, str(root), str(source), name]
    with subprocess.Popen(program, cwd=repo, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220 - its end is awaited
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"stuck\n"
        given_up = asyncio.ensure_future(layers.ensure(blob=source, media_type=GZIP, diff_id=name))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(given_up, 0.3)
        waiting = asyncio.ensure_future(Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        process.kill()
    assert (await waiting / "f7").stat().st_size == 1 << 20


async def test_layers_of_another_format_are_made_again(tmp_path: Path, layers: Layers) -> None:
    source, name = blob(tmp_path, Archive().file(b"f"))
    path = await layers.ensure(blob=source, media_type=GZIP, diff_id=name)
    (path / "f").unlink()
    (path.parent / "layer.json").write_text('{"format": 0}')
    assert await layers.list() == ()
    assert (await layers.ensure(blob=source, media_type=GZIP, diff_id=name) / "f").exists()


async def test_limits_are_obeyed(tmp_path: Path, root: Path) -> None:
    source, name = blob(tmp_path, Archive().raw(header(b"d", kind=b"5") * 11))
    with pytest.raises(ImageError, match="more than 10 entries"):
        await Layers(root, limits=Limits(entries=10)).ensure(blob=source, media_type=GZIP, diff_id=name)


async def test_opaque_directories_of_mounts_with_userxattr(tmp_path: Path, root: Path) -> None:
    source, name = blob(tmp_path, Archive().file(b"d/.wh..wh..opq"))
    path = await Layers(root, xattr_prefix="user.overlay.").ensure(blob=source, media_type=GZIP, diff_id=name)
    assert os.getxattr(path / "d", "user.overlay.opaque") == b"y"


async def test_holes_stay_holes(tmp_path: Path, layers: Layers, tool: Callable[[str], str]) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        for at in (0, 3 << 20, 70 << 20):
            file.seek(at)
            file.write(b"data" * 1000)
        file.truncate(100 << 20)
    for options in (["--format=gnu"], ["--format=pax", "--sparse-version=0.1"], ["--format=pax"]):
        command = [tool("tar"), "-cf", "-", "--sparse", *options, "-C", str(tmp_path), "source"]
        tar = (await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)).stdout
        (tmp_path / "blob").write_bytes(tar)
        path = await layers.ensure(blob=tmp_path / "blob", media_type=TAR, diff_id=diff_id(tar))
        assert (path / "source").stat().st_blocks <= source.stat().st_blocks < 1000
        assert (path / "source").read_bytes() == source.read_bytes()


async def test_two_directories_of_layers_may_make_the_same_layer(tmp_path: Path, root: Path) -> None:
    """As two processes do: the slower one waits, and finds it there."""
    source, name = blob(tmp_path, big())
    paths = await asyncio.gather(*(Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name) for _ in range(5)))
    assert set(paths) == {Layers(root).path(name)}
    assert list((root / "tmp").iterdir()) == []


def test_file_systems_without_attributes(tmp_path: Path, root: Path) -> None:
    """user.* is not missed; a capability is."""
    root.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "ramfs", root], check=True)
    try:
        source, name = blob(tmp_path, Archive().pax({b"SCHILY.xattr.user.a": b"x"}).file(b"f"))
        path = asyncio.run(Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name))
        assert os.listxattr(path / "f") == []
        record = {b"SCHILY.xattr.security.capability": bytes.fromhex("0100000200200000000000000000000000000000")}
        source, name = blob(tmp_path, Archive().pax(record).file(b"f"))
        with pytest.raises(ImageError, match=r'entry "f": operation not supported \(E'):
            asyncio.run(Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name))
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_full_disk_is_told_with_its_remedy(tmp_path: Path, root: Path) -> None:
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root], check=True)
    try:
        source, name = blob(tmp_path, big(2 << 20))
        with pytest.raises(ImageError, match=r'entry "f1": no space left on device \(ENOSPC\)') as refusal:
            asyncio.run(Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name))
        assert refusal.value.hint == "free some space below --root"
        assert list((root / "tmp").iterdir()) == []
    finally:
        subprocess.run(["umount", root], check=True)


def test_of_many_small_files_the_one_that_did_not_fit_is_told(tmp_path: Path, root: Path) -> None:
    """They are written by a thread of their own, while later ones are read."""
    archive = Archive()
    for number in range(60):
        archive.file(b"f%02d" % number, os.urandom(60_000))
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root], check=True)
    try:
        source, name = blob(tmp_path, archive)
        with pytest.raises(ImageError, match=r'entry "f1\d": no space left on device \(ENOSPC\)'):
            asyncio.run(Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name))
    finally:
        subprocess.run(["umount", root], check=True)


def test_small_files_that_are_replaced_and_linked_while_they_are_written(tmp_path: Path, root: Path) -> None:
    """What is done with a file's descriptor means that file, whatever its name has come to mean."""
    archive = Archive()
    for number in range(500):
        archive.file(b"same", b"%d" % number, uid=number).hard_link(b"l%d" % number, b"same")
    source, name = blob(tmp_path, archive)
    diff = asyncio.run(Layers(root).ensure(blob=source, media_type=GZIP, diff_id=name))
    for number in range(500):
        assert (diff / f"l{number}").read_bytes() == b"%d" % number
        assert (diff / f"l{number}").stat().st_uid == number
    assert (diff / "same").samefile(diff / "l499")


# --- layers that can be read in parts, which are ordinary ones for who reads them whole


def skippable(content: bytes) -> bytes:
    """RFC 8878, 3.1.2."""
    return b"\x50\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def zstd_chunked(tar: bytes, table: bytes) -> bytes:
    """A frame for each piece, the table of contents and the footer of 64 bytes (containers/storage, zstd:chunked)."""
    frames = b"".join(zstandard.compress(tar[at : at + 700]) for at in range(0, len(tar), 700))
    packed = zstandard.compress(table)
    footer = b"".join(n.to_bytes(8, "little") for n in (len(frames), len(packed), len(table), 1, 0, 0, 0))
    return frames + skippable(packed) + skippable(footer + b"GNUlInUx")


def estargz(tar: bytes) -> bytes:
    """A member for each piece, and the footer: an empty one that says where the table is (stargz-snapshotter,
    estargz.md). The table itself is a file of the archive."""
    members = b"".join(gzip.compress(tar[at : at + 700]) for at in range(0, len(tar), 700))
    extra = b"SG" + (22).to_bytes(2, "little") + b"%016xSTARGZ" % 12345
    header = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff" + len(extra).to_bytes(2, "little") + extra
    return members + header + b"\x01\x00\x00\xff\xff" + bytes(8)


@pytest.mark.parametrize(
    ("media_type", "pack"), [(f"{TAR}+zstd", lambda tar: zstd_chunked(tar, b'{"entries": []}')), (GZIP, estargz)]
)
async def test_layers_that_can_be_read_in_parts(
    tmp_path: Path, layers: Layers, media_type: str, pack: Callable[[bytes], bytes]
) -> None:
    tar = Archive().file(b"a", b"1" * 3000).file(b"b", os.urandom(3000)).file(b"stargz.index.json", b"{}").bytes()
    source = tmp_path / "blob"
    source.write_bytes(pack(tar))
    path = await layers.ensure(blob=source, media_type=media_type, diff_id=diff_id(tar))
    assert sorted(p.name for p in path.iterdir()) == ["a", "b", "stargz.index.json"]
    assert (path / "a").read_bytes() == b"1" * 3000


@pytest.mark.parametrize("damage", [b"x", b"\x1f\x8b", bytes(512)])
async def test_what_follows_the_end_of_a_stream_is_no_layer(tmp_path: Path, layers: Layers, damage: bytes) -> None:
    tar = Archive().file(b"a").bytes()
    source = tmp_path / "blob"
    source.write_bytes(gzipped(tar) + damage)
    with pytest.raises(ImageError, match="gzip stream"):
        await layers.ensure(blob=source, media_type=GZIP, diff_id=diff_id(tar))


async def test_a_window_larger_than_the_limit(tmp_path: Path, layers: Layers) -> None:
    tar = Archive().file(b"a", bytes(1 << 20)).bytes()
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    source = tmp_path / "blob"
    with source.open("wb") as file, zstandard.ZstdCompressor(compression_params=parameters).stream_writer(file) as out:
        out.write(tar)
    with pytest.raises(ImageError, match="too large a window"):
        await layers.ensure(blob=source, media_type=f"{TAR}+zstd", diff_id=diff_id(tar))


# --- against another unpacker


def test_the_same_as_umoci(tmp_path: Path, layers: Layers, demo_images: Path, tool: Callable[[str], str]) -> None:
    """Every file of the nginx image: kind, mode, owner, time, links, content, xattrs."""
    image = "docker.io/library/nginx:latest"
    peer = tmp_path / "peer"
    subprocess.run(
        [tool("umoci"), "unpack", "--image", f"{demo_images}:{image}", peer], check=True, capture_output=True
    )
    merged = tmp_path / "merged"
    merged.mkdir()
    stack = [str(path) for path in asyncio.run(unpack_image(demo_images, image, layers))]
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={':'.join(stack)}", merged], check=True)
    try:
        ours, theirs = snapshot(merged), snapshot(peer / "rootfs")
    finally:
        subprocess.run(["umount", merged], check=True)
    assert ours.keys() == theirs.keys()
    assert {path: (ours[path], theirs[path]) for path in ours if strip(ours[path]) != strip(theirs[path])} == {}


def strip(seen: tuple[object, ...]) -> tuple[object, ...]:
    """Overlayfs counts the links of directories otherwise."""
    mode, uid, gid, links, *rest = seen
    return (mode, uid, gid, 1 if str(mode).startswith("0o4") else links, *rest)


async def unpack_image(layout: Path, reference: str, layers: Layers) -> list[Path]:
    """The layers' directories, topmost first."""

    def read(digest: str) -> dict[str, object]:
        document = json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())
        assert isinstance(document, dict)
        return document

    index = json.loads((layout / "index.json").read_bytes())
    key = "org.opencontainers.image.ref.name"
    manifest = json.loads(
        json.dumps(read(next(m["digest"] for m in index["manifests"] if m["annotations"][key] == reference)))
    )
    configuration = json.loads(json.dumps(read(manifest["config"]["digest"])))
    found = []
    for layer, name in zip(manifest["layers"], configuration["rootfs"]["diff_ids"], strict=True):
        source = layout / "blobs" / layer["digest"].replace(":", "/")
        found.append(await layers.ensure(blob=source, media_type=layer["mediaType"], diff_id=name))
    return found[::-1]


# --- files of the rootfs, read for user names (CVE-2024-9676, CVE-2025-9566)

LIMIT = 1 << 16


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    path = tmp_path / "stage"
    path.mkdir()
    return path


async def passwd(tmp_path: Path, layers: Layers, stage: Path, *stack: Archive) -> bytes:
    """/etc/passwd of the layers, bottom first."""
    paths: list[Path] = []
    for archive in stack:
        source, name = blob(tmp_path, archive)
        paths.insert(0, await layers.ensure(blob=source, media_type=GZIP, diff_id=name))
    return await asyncio.to_thread(read_rootfs_file, paths, "/etc/passwd", stage=stage, limit=LIMIT)


BASE = Archive().file(b"etc/passwd", b"base").file(b"etc/other", b"other").bytes(end=False)


async def test_passwd_is_that_of_the_topmost_layer(tmp_path: Path, layers: Layers, stage: Path) -> None:
    base = Archive().raw(BASE)
    assert await passwd(tmp_path, layers, stage, base) == b"base"
    assert await passwd(tmp_path, layers, stage, base, Archive().file(b"etc/passwd", b"top")) == b"top"
    assert await passwd(tmp_path, layers, stage, base, Archive().file(b"x")) == b"base"
    assert await passwd(tmp_path, layers, stage, base, Archive().file(b"etc/.wh.passwd")) == b""
    assert await passwd(tmp_path, layers, stage, base, Archive().file(b"etc/.wh..wh..opq")) == b""
    assert await passwd(tmp_path, layers, stage, base, Archive().file(b".wh.etc")) == b""
    assert await passwd(tmp_path, layers, stage, Archive().file(b"x")) == b""
    assert await passwd(tmp_path, layers, stage, Archive().file(b"etc", b"no directory")) == b""


async def test_passwd_links_stay_inside(tmp_path: Path, layers: Layers, stage: Path) -> None:
    base = Archive().raw(BASE)
    victim = tmp_path / "victim"
    victim.write_text("victim")
    for target in (os.fsencode(victim), b"../../../../../../.." + os.fsencode(victim), b"/proc/self/root/etc/passwd"):
        assert await passwd(tmp_path, layers, stage, base, Archive().symlink(b"etc/passwd", target)) == b""
    link = Archive().symlink(b"etc/passwd", b"/etc/other")
    assert await passwd(tmp_path, layers, stage, base, link) == b"other"
    assert await passwd(tmp_path, layers, stage, base, Archive().symlink(b"etc", os.fsencode(tmp_path))) == b""


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Archive().node(b"etc/passwd", b"6"), "no regular file"),
        (Archive().node(b"etc/passwd", b"3", 1, 5), "EACCES"),  # the mount is nodev
        (Archive().directory(b"etc/passwd"), "no regular file"),
        (Archive().symlink(b"etc/passwd", b"/etc"), "no regular file"),
        (Archive().symlink(b"etc/passwd", b"passwd"), "ELOOP"),
        (Archive().file(b"etc/passwd", bytes(LIMIT + 1)), "larger than 65536 bytes"),
    ],
)
async def test_passwd_that_is_no_file(tmp_path: Path, layers: Layers, stage: Path, entry: Archive, words: str) -> None:
    with pytest.raises(ImageError, match=words) as refusal:
        await passwd(tmp_path, layers, stage, Archive().file(b"x"), entry)
    assert refusal.value.reason == "ImageInspectError"
