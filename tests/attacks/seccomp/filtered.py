"""Runs under a system call filter, given as a file of BPF, and tells what it gets: JSON of name → errno, 0 for success.

Usage: filtered.py FILTER NAME …, where each NAME is a call in ``CALLS``. ``-`` for FILTER: none.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

CLONE_NEWUSER, SIGCHLD = 0x10000000, 17

# x86_64 numbers; for each a call that does no harm when it is let through.
CALLS: dict[str, tuple[int, ...]] = {
    "unshare-user": (272, CLONE_NEWUSER),
    "unshare-mount": (272, 0x00020000),
    "clone-user": (56, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0),
    "clone-net": (56, 0x40000000 | SIGCHLD, 0, 0, 0, 0),
    "clone3": (435, 0, 0),
    "socket-alg": (41, 38, 5, 0),
    "socket-alg-upper-half": (41, 38 | 1 << 32, 5, 0),
    "socket-vsock": (41, 40, 1, 0),
    "socket-vsock-upper-half": (41, 40 | 7 << 40, 1, 0),
    "socket-unix": (41, 1, 1, 0),
    "socket-inet": (41, 2, 1, 0),
    "socket-inet6": (41, 10, 1, 0),
    "socket-netlink": (41, 16, 3, 0),
    "socket-unknown": (41, 200, 1, 0),
    "keyctl": (250, 0, 0xFFFFFFFD, 0),
    "add_key": (248, 0, 0, 0, 0, 0),
    "request_key": (249, 0, 0, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "move_mount": (429, -1, 0, -1, 0, 0),
    "open_tree": (428, -1, 0, 0),
    "fsopen": (430, 0, 0),
    "fsconfig": (431, -1, 0, 0, 0, 0),
    "mount_setattr": (442, -1, 0, 0, 0, 0),
    "setns": (308, -1, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "userfaultfd": (323, 1),
    "io_uring_setup": (425, 1, 0),
    "io_uring_enter": (426, -1, 0, 0, 0, 0, 0),
    "io_uring_register": (427, -1, 0, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "open_by_handle_at": (304, -1, 0, 0),
    "syslog": (103, 10, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "swapon": (167, 0, 0),
    "iopl": (172, 0),
    "chroot": (161, 0),
    "settimeofday": (164, 0, 8),
    "clock_settime": (227, 0, 0),
    "personality-ask": (135, 0xFFFFFFFF),
    "personality-no-random": (135, 0x0040000),
    "ptrace": (101, 3, -1, 0, 0),
    "mseal": (462, 0, 0, 0),
    "unknown": (1000,),
    "newest": (600,),
}


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def load(path: str) -> None:
    """Takes the filter, for good."""
    with open(path, "rb") as file:
        content = file.read()
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(content) // 8, content)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def call(name: str) -> int:
    """The errno of a call, 0 for success. A child that a clone made ends at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    number, *arguments = CALLS[name]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_uint64(value % 2**64) for value in arguments))
    if name.startswith("clone") and result == 0:
        os._exit(0)
    return ctypes.get_errno() if result == -1 else 0


def machine_code(code: str) -> int:
    """Runs x86_64 machine code (hex) that ends with ret, and gives what it leaves in eax."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes.fromhex(code))
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())


CODE = {
    "i386-getpid": "b814000000cd80c3",  # mov eax, 20; int 0x80; ret
    "x32-getpid": "b8270000400f05c3",  # mov eax, 0x40000027; syscall; ret
}

if __name__ == "__main__":
    if sys.argv[1] != "-":
        load(sys.argv[1])
    print(json.dumps({name: machine_code(CODE[name]) if name in CODE else call(name) for name in sys.argv[2:]}))
