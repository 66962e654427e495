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
SYS_KEYCTL, SYS_KEYCTL_GENERIC = 250, 219
KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_SETPERM, KEYCTL_LINK = 1, 5, 8
KEY_SPEC_SESSION_KEYRING, FOR_THE_USER = -3, 0x3F3F0000
PR_SET_PTRACER, ANYBODY = 0x59616D61, -1
SECRET = b"the user's secret"

libc = ctypes.CDLL(None, use_errno=True)


def add_key(description: str) -> bool:
    """Where there is no key service, there is none to attack. Whoever has the user's id may do all with it, however
    his session began: only who has it in a keyring of his session may say so."""
    generic = os.uname().machine != "x86_64"
    add, control = (SYS_ADD_KEY_GENERIC, SYS_KEYCTL_GENERIC) if generic else (SYS_ADD_KEY, SYS_KEYCTL)
    libc.syscall(control, KEYCTL_JOIN_SESSION_KEYRING, None)
    libc.syscall(control, KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING)
    added = int(libc.syscall(add, b"user", description.encode(), SECRET, len(SECRET), KEY_SPEC_USER_KEYRING))
    if added > 0 and libc.syscall(control, KEYCTL_SETPERM, added, FOR_THE_USER) != 0:
        raise OSError(ctypes.get_errno(), "cannot let the user have the key")
    return added > 0


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
