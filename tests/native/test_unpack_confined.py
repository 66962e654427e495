"""The child that unpacks a layer: what it can reach, what it may do, how it ends, and how much memory it takes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.unpacker import PROGRAM, Unpacker, UnpackError
from nsrun.support.fds import Fd
from tests.attacks.archives import Archive, header
from tests.native.pods import process_gone
from tests.waiting import eventually

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP; and SYS_ADMIN, for attributes of trusted.*.
FILES = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31
ADMIN = 1 << 21

CALLS = {"read", "write", "close", "lseek", "ftruncate", "fcntl", "exit_group"}
CALLS |= {"openat", "openat2", "mkdirat", "symlinkat", "linkat", "mknodat", "unlinkat", "getdents64"}
CALLS |= {"fstat", "newfstatat", "fchmod", "fchmodat", "fchown", "fchownat", "utimensat", "fsetxattr", "fremovexattr"}
CALLS |= {"futex"}

# Of the thread that fills files: CHOWN, FOWNER, FSETID.
WRITER = 1 << 0 | 1 << 3 | 1 << 4
WRITER_CALLS = {"write", "close", "fchown", "fchmod", "utimensat", "futex"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child that waits for the rest of its archive."""

    unpacker: Unpacker
    layer: Path
    pid: int

    def writer(self) -> int:
        """Its other thread."""
        (found,) = (int(name) for name in os.listdir(f"/proc/{self.pid}/task") if int(name) != self.pid)
        return found

    def status(self, key: str, thread: int | None = None) -> str:
        lines = Path(f"/proc/{self.pid}/task/{thread or self.pid}/status").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:"))

    def kib(self, key: str) -> int:
        return int(self.status(key).split()[0])

    def wait_for(self, name: str) -> None:
        eventually((self.layer / name).exists, what=f"{name} in the layer")


def start(layer: Path, *, xattr_prefix: str = "trusted.overlay.", program: Path = PROGRAM) -> Child:
    """Once its first file is there it has locked itself in."""
    layer.mkdir()
    with Fd.open(layer, DIRECTORY) as root:
        unpacker = Unpacker(root.fileno(), limits=DEFAULT_LIMITS, xattr_prefix=xattr_prefix, program=program)
    child = Child(unpacker=unpacker, layer=layer, pid=child_pid())
    unpacker.write(Archive().file(b"first").bytes(end=False))
    child.wait_for("first")
    return child


def child_pid() -> int:
    """Of this process's one child that unpacks. It has its name a moment after exec(2) is over for its parent."""
    found = eventually(lambda: [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and is_own_unpacker(pid)])
    assert len(found) == 1, found
    return found[0]


def is_own_unpacker(pid: str) -> bool:
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return name.endswith("(nsrun-unpack") and int(rest.split()[1]) == os.getpid()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    found = start(tmp_path / "layer")
    with closing(found.unpacker):
        yield found
    assert process_gone(found.pid)


# --- what it can reach


def test_the_layer_is_all_there_is(child: Child) -> None:
    layer = child.layer.stat()
    for name in ("root", "cwd"):
        seen = os.stat(f"/proc/{child.pid}/{name}/.")
        assert (seen.st_dev, seen.st_ino) == (layer.st_dev, layer.st_ino)
    assert os.listdir(f"/proc/{child.pid}/root/") == ["first"]
    assert os.listdir(f"/proc/{child.pid}/root/..") == ["first"]
    (mount,) = Path(f"/proc/{child.pid}/mountinfo").read_text().splitlines()
    _, _, _, _, point, options, *_ = mount.split()
    assert point == "/"
    assert {"nosuid", "nodev", "noexec"} <= set(options.split(","))


def test_every_namespace_is_its_own(child: Child) -> None:
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "ipc", "uts", "pid", "cgroup")}
    assert [name for name, link in own.items() if os.readlink(f"/proc/{child.pid}/ns/{name}") == link] == []
    interfaces = Path(f"/proc/{child.pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    assert child.status("NSpid").split()[-1] == "1"


def test_nothing_is_open_but_its_pipes_and_the_layer(child: Child) -> None:
    opened = {int(name): os.stat(f"/proc/{child.pid}/fd/{name}") for name in os.listdir(f"/proc/{child.pid}/fd")}
    layer = child.layer.stat()
    assert [stat.S_ISFIFO(opened.pop(number).st_mode) for number in (0, 1)] == [True, True]
    assert opened.pop(2).st_rdev == os.makedev(1, 3)
    assert {(status.st_dev, status.st_ino) for status in opened.values()} == {(layer.st_dev, layer.st_ino)}
    assert Path(f"/proc/{child.pid}/environ").read_bytes() == b""


# --- what it may do


@pytest.mark.parametrize(("prefix", "more"), [("trusted.overlay.", ADMIN), ("user.overlay.", 0)])
def test_privileges_are_those_that_unpacking_needs(tmp_path: Path, prefix: str, more: int) -> None:
    child = start(tmp_path / "layer", xattr_prefix=prefix)
    with closing(child.unpacker):
        held = {name: int(child.status(name), 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")}
        assert held["CapEff"] == held["CapPrm"] == held["CapBnd"] == FILES | more
        assert (held["CapInh"], held["CapAmb"]) == (0, 0)
        assert (child.status("NoNewPrivs"), child.status("Seccomp"), child.status("Threads")) == ("1", "2", "2")


def test_the_writer_has_but_a_few_of_them(child: Child) -> None:
    writer = child.writer()
    held = {name: int(child.status(name, writer), 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")}
    assert held == {"CapEff": WRITER, "CapPrm": WRITER, "CapBnd": WRITER, "CapInh": 0, "CapAmb": 0}
    assert (child.status("NoNewPrivs", writer), child.status("Seccomp", writer)) == ("1", "2")


@pytest.mark.parametrize(("arguments", "calls"), [((), CALLS), (("writer",), WRITER_CALLS)], ids=["first", "writer"])
def test_only_these_system_calls_are_let_through(
    repo: Path, tmp_path: Path, arguments: tuple[str, ...], calls: set[str]
) -> None:
    native, probe = repo / "native", tmp_path / "probe"
    sources = [HERE / "unpack_probe.c", native / "unpack_filter.c"]
    subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-I", native, *sources, "-o", probe], check=True)
    allowed = subprocess.run([probe, *arguments], check=True, capture_output=True, text=True).stdout.split()
    assert set(allowed) == calls


def test_resources_are_limited(child: Child) -> None:
    lines = Path(f"/proc/{child.pid}/limits").read_text().splitlines()[1:]
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max address space"] == [str(16 << 20)] * 2
    assert limits["Max open files"] == ["320"] * 2
    assert limits["Max processes"] == limits["Max core file size"] == limits["Max locked memory"] == ["0"] * 2


def test_memory_does_not_grow_with_the_layer(child: Child) -> None:
    """Directories whose times are to be set, long names, extended headers, maps of sparse files."""
    before = child.kib("VmPeak")
    for number in range(5):
        archive = Archive()
        for count in range(200):
            archive.directory(b"d%d/%s/%d" % (number, b"x" * 70, count))
        archive.long_name(b"n" * 255).long_name(b"t" * 4095, b"K").symlink(b"l", b"")
        archive.pax({b"comment": b"c" * 1_000_000, b"SCHILY.xattr.user.a": b"v" * 2000}).file(b"f%d" % number)
        regions = b",".join(b"%d,1" % (2 * region) for region in range(10_000))
        sparse = {b"GNU.sparse.map": regions, b"GNU.sparse.size": b"200000"}
        archive.pax(sparse).file(b"s%d" % number, bytes(10_000))
        child.unpacker.write(archive.bytes(end=False))
    child.unpacker.write(Archive().file(b"last").bytes(end=False))
    child.wait_for("last")
    assert child.kib("VmPeak") == before <= 16 << 10
    assert child.kib("VmHWM") <= 8 << 10


# --- how it ends


def test_it_ends_with_whoever_feeds_it(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    script = """
import os, sys
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.unpacker import Unpacker
from tests.native.test_unpack_confined import child_pid
root = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
unpacker = Unpacker(root, limits=DEFAULT_LIMITS, xattr_prefix="trusted.overlay.")
unpacker.write(bytes(100))
print(child_pid(), flush=True)
sys.stdin.read()
"""
    program = [sys.executable, "-c", script, str(tmp_path / "layer")]
    with subprocess.Popen(program, cwd=repo, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as feeder:
        assert feeder.stdout is not None
        pid = int(feeder.stdout.readline())
        assert not process_gone(pid)
        feeder.kill()
        eventually(lambda: process_gone(pid), what="the end of the child")


def test_a_child_that_is_killed_is_told(child: Child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(UnpackError, match="internal error: the unpacker ended by SIGKILL"):
        child.unpacker.finish()


def test_close_ends_it_in_the_middle(child: Child) -> None:
    child.unpacker.write(header(b"f", size=1 << 20) + bytes(1000))
    child.unpacker.close()
    assert process_gone(child.pid)
    child.unpacker.close()


def test_kernels_that_refuse_are_told(tmp_path: Path) -> None:
    """Without CAP_SYS_ADMIN there is no namespace to lock it into: nothing is unpacked then."""
    script = """
import os, sys
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.unpacker import Unpacker
root = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
try:
    Unpacker(root, limits=DEFAULT_LIMITS, xattr_prefix="trusted.overlay.")
except PermissionError:
    print("refused")
"""
    weak = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-c", script]
    done = subprocess.run([*weak, str(tmp_path)], cwd=HERE.parent.parent, capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr
    assert list(tmp_path.iterdir()) == []


IN_A_USER_NAMESPACE = """
import os, sys
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.unpacker import Unpacker
from nsrun.support import native
from tests.attacks.archives import Archive
native.unshare(native.CLONE_NEWUSER | native.CLONE_NEWNS)
print("unshared", flush=True)
sys.stdin.readline()
root = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
unpacker = Unpacker(root, limits=DEFAULT_LIMITS, xattr_prefix="user.overlay.")
archive = Archive().file(b"f", mode=0o4755, uid=77).directory(b"d").file(b"d/.wh..wh..opq").file(b".wh.gone")
unpacker.write(archive.node(b"null", b"3", 1, 3).node(b"pipe", b"6").symlink(b"l", b"f").hard_link(b"h", b"f").bytes())
print(unpacker.finish().entries)
"""


def test_it_works_in_a_user_namespace(tmp_path: Path) -> None:
    """With what root has there, and no more: of devices only whiteouts can be made."""
    layer = tmp_path / "layer"
    layer.mkdir()
    program = [sys.executable, "-c", IN_A_USER_NAMESPACE, str(layer)]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, cwd=HERE.parent.parent, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "unshared\n"
        for kind in ("uid", "gid"):
            Path(f"/proc/{process.pid}/{kind}_map").write_text("0 0 65536")
        assert process.communicate("\n")[0] == "8\n"
    assert {path.name for path in layer.iterdir()} == {"f", "h", "l", "d", "gone", "null", "pipe"}
    assert (oct((layer / "h").stat().st_mode), (layer / "f").stat().st_uid) == ("0o104755", 77)
    assert os.getxattr(layer / "d", "user.overlay.opaque") == b"y"
    for name in ("gone", "null"):
        status = (layer / name).lstat()
        assert (stat.S_ISCHR(status.st_mode), status.st_rdev) == (True, 0)
