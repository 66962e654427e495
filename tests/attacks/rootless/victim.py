"""What an ordinary user runs beside containers: it has secrets in its environment and its memory, a key, and sockets.

    victim.py DIRECTORY KEY ABSTRACT

Says in one line of JSON where all that is; SIGUSR1 leaves ``DIRECTORY/signalled``. Lives until its input ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

SYS_ADD_KEY, KEY_SPEC_USER_KEYRING = 248, -4  # x86_64; keyctl(2)
SYS_ADD_KEY_GENERIC = 217  # asm-generic/unistd.h
PR_SET_PTRACER, ANYBODY = 0x59616D61, -1
SECRET = b"the user's secret"

libc = ctypes.CDLL(None, use_errno=True)


def add_key(description: str) -> bool:
    """Where there is no key service, there is none to attack."""
    number = SYS_ADD_KEY if os.uname().machine == "x86_64" else SYS_ADD_KEY_GENERIC
    added = libc.syscall(number, b"user", description.encode(), SECRET, len(SECRET), KEY_SPEC_USER_KEYRING)
    return int(added) > 0


def serve(address: str) -> None:
    """Gives a byte to whoever connects."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    threading.Thread(target=_give, args=(listener,), daemon=True).start()


def _give(listener: socket.socket) -> None:
    while True:
        with listener.accept()[0] as connection:
            connection.sendall(b"x")


def main(directory: Path, key: str, abstract: str) -> None:
    # Where Yama lets only parents trace: what stops an intruder must be something else.
    libc.prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
    secret = ctypes.create_string_buffer(SECRET)
    signal.signal(signal.SIGUSR1, lambda *_: (directory / "signalled").touch())
    serve(str(directory / "agent.sock"))
    serve(f"\0{abstract}")
    told = {"pid": os.getpid(), "address": f"{ctypes.addressof(secret):x}", "key": add_key(key)}
    print(json.dumps(told), flush=True)
    sys.stdin.read()


main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
