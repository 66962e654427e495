"""nsrun-holder alone: what it says, and what it is when it holds. As it is shipped, and with the sanitizers."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.native import abi
from tests.native.pods import eventually, process_gone
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

WORD = struct.Struct("=Iii")
Start = Callable[..., "Line"]


class Line:
    """The starter's end of the line to a holder."""

    def __init__(self, program: Path, *words: str) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.settimeout(20 * PATIENCE)
        with theirs:
            self.exit_code = subprocess.run(
                [program, *words], stdin=theirs.fileno(), env={"SOME": "thing"}, check=False
            ).returncode
        self.pids: set[int] = set()

    def word(self) -> tuple[int, int, int] | None:
        """Step, errno and pid; None when it is gone."""
        data = self._line.recv(WORD.size)
        if not data:
            return None
        step, error, pid = WORD.unpack(data)
        self.pids.add(pid)
        return step, error, pid

    def go_on(self) -> None:
        self._line.send(b"\n")

    def close(self) -> None:
        self._line.close()
        for pid in self.pids:
            if not process_gone(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def directory(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With both programs, and no others: those take a minute to build."""
    made = tmp_path_factory.mktemp("holder")
    words = [f"BIN={made}", *(str(made / name) for name in ("nsrun-holder", "nsrun-holder-asan"))]
    subprocess.run(["make", "--silent", "-C", str(repo / "native"), *words], check=True)
    return made


@pytest.fixture(params=["nsrun-holder", "nsrun-holder-asan"])
def start(request: pytest.FixtureRequest, directory: Path) -> Iterator[Start]:
    lines: list[Line] = []

    def begin(*words: str) -> Line:
        lines.append(Line(directory / request.param, *words))
        return lines[-1]

    yield begin
    for line in lines:
        line.close()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter: who is root inside is nobody special here."""
    path = Path("/run/holder-tests") / os.urandom(4).hex()
    path.mkdir(parents=True, mode=0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def pin(place: Path) -> Path:
    path = place / "pin"
    path.touch()
    return path


def write_maps(pid: int) -> None:
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{kind}").write_text("0 5000 1\n1 6000 100\n")


def held(start: Start, pin: Path) -> int:
    """The pid of a holder that holds."""
    line = start("make", str(pin))
    first = line.word()
    assert first is not None
    assert first[:2] == (abi.NS_HOLDER_UNSHARED, 0)
    write_maps(first[2])
    line.go_on()
    assert line.word() == (abi.NS_HOLDER_HOLDS, 0, first[2])
    return first[2]


def test_it_holds_three_namespaces_as_their_root(start: Start, pin: Path) -> None:
    pid = held(start, pin)
    for name, own in (("user", False), ("mnt", False), ("net", False), ("pid", True), ("cgroup", True)):
        assert (os.stat(f"/proc/{pid}/ns/{name}").st_ino == os.stat(f"/proc/self/ns/{name}").st_ino) is own
    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nUid:\t5000\t5000\t5000\t5000\n" in status
    assert "\nGid:\t5000\t5000\t5000\t5000\n" in status
    assert "\nGroups:\t \n" in status
    assert "\nCapEff:\t0000000000000000\n" in status
    assert "\nCapPrm:\t0000000000000000\n" in status
    assert "\nNoNewPrivs:\t1\n" in status


def test_nothing_of_its_starter_is_left(start: Start, pin: Path) -> None:
    pid = held(start, pin)
    eventually(lambda: os.listdir(f"/proc/{pid}/fd") == [], "its descriptors to be closed")
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/comm").read_text() == "nsrun-holder\n"


def test_its_mounts_follow_the_hosts_and_are_shared_inside(start: Start, pin: Path) -> None:
    subprocess.run(["mount", "--make-shared", "-t", "tmpfs", "none", pin.parent], check=True)
    pin.touch()
    try:
        pid = held(start, pin)
        rows = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        fields = next(row[6 : row.index("-")] for row in rows if row[4] == str(pin.parent))
        assert [field.partition(":")[0] for field in fields] == ["shared", "master"]
        assert str(pin) in [row[4] for row in rows]
        assert str(pin) not in Path("/proc/self/mountinfo").read_text()
    finally:
        subprocess.run(["umount", "--lazy", pin.parent], check=True)


def test_loopback_is_up(start: Start, pin: Path) -> None:
    pid = held(start, pin)
    shown = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-br", "address"], capture_output=True, text=True, check=True
    )
    assert "127.0.0.1/8" in shown.stdout


def test_only_sigterm_ends_it(start: Start, pin: Path) -> None:
    pid = held(start, pin)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGTSTP):
        os.kill(pid, number)
    # Not stopped, not dead: asleep, as soon as it has got there.
    eventually(lambda: "\nState:\tS" in Path(f"/proc/{pid}/status").read_text(), "its sleep")
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: process_gone(pid), "its end")


def test_a_starter_that_goes_takes_it_along(start: Start, pin: Path) -> None:
    line = start("make", str(pin))
    first = line.word()
    assert first is not None
    line._line.close()
    eventually(lambda: process_gone(first[2]), "its end")


def test_without_maps_it_is_nobody(start: Start, pin: Path) -> None:
    line = start("make", str(pin))
    assert line.word() is not None
    line.go_on()
    told = line.word()
    assert told is not None
    assert told[:2] == (abi.NS_HOLDER_ROOT, errno.EINVAL)
    assert line.word() is None


def test_a_pin_that_is_not_there(start: Start, place: Path) -> None:
    line = start("make", str(place / "nowhere"))
    first = line.word()
    assert first is not None
    write_maps(first[2])
    line.go_on()
    told = line.word()
    assert told is not None
    assert told[:2] == (abi.NS_HOLDER_NETWORK, errno.ENOENT)


@pytest.mark.parametrize("pinned", [True, False])
def test_it_joins_the_network_that_is_pinned_or_makes_another(start: Start, pin: Path, pinned: bool) -> None:
    if pinned:
        for fd in native.netns_create(str(pin)):
            fd.close()
    try:
        line = start("join", str(pin))
        told = line.word()
        assert told is not None
        assert told[:2] == (abi.NS_HOLDER_HOLDS, 0)
        assert os.stat(f"/proc/{told[2]}/ns/net").st_ino == pin.stat().st_ino
        assert os.stat(f"/proc/{told[2]}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino
        assert os.stat(f"/proc/{told[2]}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    finally:
        subprocess.run(["umount", "--lazy", pin], check=True)


@pytest.mark.parametrize("words", [(), ("make",), ("make", "a", "b")])
def test_other_words_are_none_of_its(start: Start, words: tuple[str, ...]) -> None:
    line = start(*words)
    assert line.exit_code == 1
    assert line.word() is None
