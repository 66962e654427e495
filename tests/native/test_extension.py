"""The doorway: namespaces, rootfs look-ups and system calls, as Python calls them."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.native import abi


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory on a tmpfs: overlayfs does not stack on every file system."""
    if os.geteuid() != 0:
        return tmp_path
    base = Path("/run/extension-tests") / os.urandom(4).hex()
    base.mkdir(parents=True)
    return base


@pytest.mark.root
def test_netns(place: Path) -> None:
    """Pinned, loopback up, with a netlink socket that lives inside; this process stays where it is."""
    path = place / "netns"
    path.touch()
    before = os.readlink("/proc/self/ns/net")
    namespace, netlink = native.netns_create(str(path))
    try:
        assert os.stat(path).st_ino == os.fstat(namespace.fileno()).st_ino
        assert os.readlink("/proc/self/ns/net") == os.readlink("/proc/thread-self/ns/net") == before
        server = native.socket_in(namespace.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        client = native.socket_in(namespace.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        server.bind(("127.0.0.1", 80))
        server.listen()
        client.connect(("127.0.0.1", 80))
        outside = socket.socket()
        with pytest.raises(ConnectionRefusedError):
            outside.connect(("127.0.0.1", 80))
        for each in (server, client, outside):
            each.close()
        assert os.get_inheritable(namespace.fileno()) is False
        route = socket.socket(fileno=os.dup(netlink.fileno()))
        assert route.family == socket.AF_NETLINK
        route.close()
    finally:
        namespace.close()
        netlink.close()
        native.umount(str(path), native.MNT_DETACH)


@pytest.mark.root
def test_netns_that_cannot_be_pinned(place: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        native.netns_create(str(place / "missing"))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.root
def test_threads_do_not_disturb_each_other(place: Path) -> None:
    """Sockets are made in many namespaces from many threads at once; every one is where it should be."""
    spaces = []
    for n in range(4):
        (place / f"ns{n}").touch()
        spaces.append(native.netns_create(str(place / f"ns{n}")))
    wrong: list[int] = []

    def work(n: int) -> None:
        for _ in range(50):
            with native.socket_in(spaces[n][0].fileno(), socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.bind(("127.0.0.1", 5000 + n))
            if os.readlink("/proc/thread-self/ns/net") != os.readlink(f"/proc/{os.getpid()}/ns/net"):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    for n, pair in enumerate(spaces):
        for fd in pair:
            fd.close()
        native.umount(str(place / f"ns{n}"), native.MNT_DETACH)


def layers(place: Path, *contents: dict[str, str]) -> list[int]:
    """Directories with files (``"->target"`` is a link), opened; topmost first."""
    fds = []
    for number, files in enumerate(contents):
        top = place / f"layer{number}"
        for name, text in files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("->"):
                path.symlink_to(text[2:])
            else:
                path.write_text(text)
        fds.append(os.open(top, os.O_PATH | os.O_DIRECTORY))
    (place / "stage").mkdir()
    return fds


def look(place: Path, fds: list[int], path: str) -> str:
    with native.open_in_rootfs(str(place / "stage"), fds, path) as file:
        return os.read(file.fileno(), 100).decode()


@pytest.mark.root
def test_rootfs_is_seen_as_the_container_sees_it(place: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    before = sorted(os.listdir("/proc/self/fd"))
    top = {"etc/passwd": "top", "etc/link": "->/etc/passwd", "etc/out": "->../../../../../../etc/passwd"}
    fds = layers(place, top, {"etc/passwd": "bottom", "etc/group": "group"})
    assert look(place, fds, "/etc/passwd") == "top"
    assert look(place, fds, "etc/group") == "group"
    assert look(place, fds, "/etc/link") == "top"
    assert look(place, fds, "/etc/out") == "top", "dots end at the root of the container"
    assert look(place, fds[1:], "/etc/passwd") == "bottom"
    with pytest.raises(FileNotFoundError, match="/etc/shadow"):
        look(place, fds, "/etc/shadow")
    for fd in fds:
        os.close(fd)
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert list((place / "stage").iterdir()) == []


@pytest.mark.root
def test_rootfs_look_up_never_blocks_nor_leaves(place: Path) -> None:
    """CVE-2024-9676 and its kind: /etc/passwd of the image is a FIFO, a link into /proc, a loop."""
    files = {"etc/x": "x", "etc/magic": "->/proc/self/root/etc/passwd", "etc/loop": "->loop", "etc/host": "->/run/x"}
    fds = layers(place, files, {"etc/y": "y"})
    os.mkfifo(place / "layer0/etc/fifo")
    with native.open_in_rootfs(str(place / "stage"), fds, "/etc/fifo") as fifo:
        assert os.read(fifo.fileno(), 10) == b""
    for name in ("magic", "loop", "host"):
        with pytest.raises(OSError, match=name):
            look(place, fds, f"/etc/{name}")
    for fd in fds:
        os.close(fd)


@pytest.mark.root
def test_layer_that_was_replaced_is_noticed(place: Path) -> None:
    """Layers are opened again by name in the helper's mount namespace: it must be the same directory."""
    fds = layers(place, {"a": "a"}, {"b": "b"})
    (place / "layer1").rename(place / "moved")
    (place / "layer1").mkdir()
    assert look(place, fds, "b") == "b", "a moved directory is found where it is now"
    (place / "moved").rename(place / "away")
    (place / "away" / "b").unlink()
    (place / "away").rmdir()
    with pytest.raises(OSError, match="b"):
        look(place, fds, "b")
    for fd in fds:
        os.close(fd)


@pytest.mark.root
def test_mount_api(place: Path) -> None:
    native.mount("tmpfs", str(place), "tmpfs", native.MS_NODEV, "mode=700")
    try:
        (place / "a").mkdir()
        (place / "b").mkdir()
        (place / "a/file").touch()
        tree = native.open_tree(-100, str(place / "a"), native.OPEN_TREE_CLONE)
        native.mount_setattr(tree.fileno(), "", native.AT_EMPTY_PATH, set=native.MOUNT_ATTR_RDONLY)
        native.move_mount(tree.fileno(), "", -100, str(place / "b"), native.MOVE_MOUNT_F_EMPTY_PATH)
        tree.close()
        with pytest.raises(OSError, match="Read-only"):
            (place / "b/file").unlink()
        native.umount(str(place / "b"))
    finally:
        native.umount(str(place), native.MNT_DETACH)


def test_openat2(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    directory = os.open(tmp_path, os.O_PATH)
    with pytest.raises(OSError, match="link"):
        native.openat2(directory, "link", os.O_PATH, resolve=native.RESOLVE_NO_SYMLINKS)
    with pytest.raises(OSError, match=r"\.\./x"):
        native.openat2(directory, "../x", os.O_PATH, resolve=native.RESOLVE_BENEATH)
    flags = os.O_CREAT | os.O_WRONLY
    with native.openat2(directory, "made", flags, mode=0o600, resolve=native.RESOLVE_BENEATH) as made:
        assert os.get_inheritable(made.fileno()) is False
    os.close(directory)


def test_requests_and_messages() -> None:
    data = native.pack_request(abi.NS_REQ_SIGNAL, 7, value=15, id="c.0")
    assert len(data) == native.REQUEST_SIZE == 512
    with pytest.raises(ValueError, match="too long"):
        native.pack_request(abi.NS_REQ_SIGNAL, 7, id="x" * 128)
    with pytest.raises(ValueError, match="bytes"):
        native.unpack_message(b"x")
    assert native.unpack_message(bytes(native.MESSAGE_SIZE)).failure is None


def test_names_of_steps() -> None:
    assert native.step_name(abi.NS_OP_ROOT_READONLY) == "root-readonly"
    assert native.step_name(abi.NS_STEP_CLONE) == "clone"
    assert native.step_name(12345) == "step 12345"
