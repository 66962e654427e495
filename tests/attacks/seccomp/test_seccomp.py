"""The default filter, under which real programs run and real calls are refused.

Each refusal here is one that root with every capability gets: nothing but the filter stands in the way.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from errno import EAFNOSUPPORT, EBADF, EFAULT, EINVAL, ENOSYS, EPERM
from pathlib import Path

import pytest

from nsrun.runtime.seccomp import Seccomp
from tests.attacks.seccomp import filtered

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls here are x86_64's"),
]

DEFAULT = frozenset(
    {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"}
)


def run(tmp_path: Path, capabilities: frozenset[str] | None, *names: str) -> dict[str, int]:
    """What calls get, by name, under the filter for these capabilities (None: no filter)."""
    path = "-"
    if capabilities is not None:
        path = str(tmp_path / "filter")
        Path(path).write_bytes(Seccomp(tmp_path / "cache").default(capabilities))
    done = subprocess.run(
        [sys.executable, "-I", "-S", filtered.__file__, path, *names], capture_output=True, text=True, check=True
    )
    got: dict[str, int] = json.loads(done.stdout)
    return got


REFUSED = {
    "unshare-user": EPERM,
    "unshare-mount": EPERM,
    "clone-user": EPERM,
    "clone-net": EPERM,
    "clone3": ENOSYS,
    "socket-alg": EAFNOSUPPORT,
    "socket-alg-upper-half": EAFNOSUPPORT,
    "socket-vsock": EAFNOSUPPORT,
    "socket-vsock-upper-half": EAFNOSUPPORT,
    "socket-unknown": ENOSYS,
    "keyctl": EPERM,
    "add_key": EPERM,
    "request_key": EPERM,
    "mount": EPERM,
    "umount2": EPERM,
    "pivot_root": EPERM,
    "move_mount": EPERM,
    "open_tree": EPERM,
    "fsopen": EPERM,
    "fsconfig": EPERM,
    "mount_setattr": EPERM,
    "setns": EPERM,
    "bpf": EPERM,
    "perf_event_open": EPERM,
    "userfaultfd": EPERM,
    "io_uring_setup": EPERM,
    "io_uring_enter": EPERM,
    "io_uring_register": EPERM,
    "kexec_load": EPERM,
    "init_module": EPERM,
    "open_by_handle_at": EPERM,
    "syslog": EPERM,
    "reboot": EPERM,
    "swapon": EPERM,
    "iopl": EPERM,
    "chroot": EPERM,
    "settimeofday": EPERM,
    "clock_settime": EPERM,
    "personality-no-random": ENOSYS,
    "unknown": ENOSYS,
    "newest": ENOSYS,
}


def test_dangerous_calls_are_refused(tmp_path: Path) -> None:
    assert run(tmp_path, DEFAULT, *REFUSED) == REFUSED


def test_it_is_the_filter_that_refuses_them(tmp_path: Path) -> None:
    """Without it, the harmless ones of these calls succeed or fail for another reason."""
    harmless = ("fsopen", "move_mount", "setns", "io_uring_enter", "bpf", "syslog", "iopl", "unshare-user")
    without = run(tmp_path, None, *harmless)
    assert [name for name in harmless if without[name] == REFUSED[name]] == []


def test_sockets_that_programs_need_are_there(tmp_path: Path) -> None:
    wanted = ("socket-unix", "socket-inet", "socket-inet6", "socket-netlink", "personality-ask")
    assert run(tmp_path, DEFAULT, *wanted) == run(tmp_path, None, *wanted)


def test_ptrace_and_newer_calls_reach_the_kernel(tmp_path: Path) -> None:
    wanted = ("ptrace", "mseal")
    assert run(tmp_path, DEFAULT, *wanted) == run(tmp_path, None, *wanted)


def test_a_capability_opens_what_it_gates_and_no_more(tmp_path: Path) -> None:
    got = run(tmp_path, DEFAULT | {"CAP_SYS_ADMIN"}, "setns", "move_mount", "fsopen", "clone3", "keyctl", "socket-alg")
    assert got == {
        "setns": EBADF,
        "move_mount": EFAULT,
        "fsopen": EFAULT,
        "clone3": EINVAL,
        "keyctl": EPERM,
        "socket-alg": EAFNOSUPPORT,
    }
    assert run(tmp_path, frozenset({"CAP_SYS_TIME"}), "settimeofday", "mount") == {
        "settimeofday": EFAULT,
        "mount": EPERM,
    }


@pytest.mark.parametrize("name", ["i386-getpid", "x32-getpid"])
def test_another_architecture_s_calls_kill(tmp_path: Path, name: str) -> None:
    """i386's tables hold ``socketcall``, where no argument can be looked at; x32's hold everything a second time."""
    if name == "i386-getpid":
        try:
            assert run(tmp_path, None, name)[name] > 0
        except subprocess.CalledProcessError:
            pytest.skip("this kernel has no i386 calls anyway")
    with pytest.raises(subprocess.CalledProcessError) as raised:
        run(tmp_path, DEFAULT, name)
    assert raised.value.returncode == -31  # SIGSYS


SERVER = """
import os, select, socket, sys, tempfile, threading, time, mmap, signal, subprocess, multiprocessing
listener = socket.create_server(("127.0.0.1", 0))
poller = select.epoll()
poller.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
file = tempfile.TemporaryFile()
file.write(b"x" * 100000); file.flush()
def serve():
    poller.poll(5)
    peer, _ = listener.accept()
    os.sendfile(peer.fileno(), file.fileno(), 0, 100000)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.close()
thread = threading.Thread(target=serve); thread.start()
client = socket.create_connection(listener.getsockname())
got = 0
while data := client.recv(65536): got += len(data)
thread.join()
assert got == 100000, got
assert subprocess.run(["/bin/sh", "-c", "echo hello | cat; exit 3"], capture_output=True).returncode == 3
pid = os.fork()
if pid == 0: os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
signal.setitimer(signal.ITIMER_REAL, 100)
os.memfd_create("x"); os.eventfd(0); os.pidfd_open(os.getpid()); os.getrandom(8); os.sched_getaffinity(0)
os.setgroups([1, 2]); os.setresgid(1000, 1000, 1000); os.setresuid(1000, 1000, 1000)
os.copy_file_range; os.statvfs("/"); list(os.scandir("/")); os.umask(0o22); os.getpriority(os.PRIO_PROCESS, 0)
print("fine")
"""


def test_ordinary_programs_run(tmp_path: Path) -> None:
    """What a web server and an interpreter do: epoll, sendfile, threads, children, signals, changing user."""
    program = f"""
import sys; sys.path.insert(0, {str(Path(filtered.__file__).parent)!r})
import filtered; filtered.load({str(tmp_path / "filter")!r})
{SERVER}"""
    (tmp_path / "filter").write_bytes(Seccomp(tmp_path / "cache").default(DEFAULT))
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)
