"""What a container says about its end (kubelet, ``pkg/kubelet/container/runtime.go``): a file of the host's that is
mounted into it, or, where the manifest says so and that stays empty, the end of its log.

The container writes the file, and can do nothing else to it: it is a mount point there, and its place here is nsrun's
own. It may hold anything and be of any size."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from nsrun.errors import describe_errno
from nsrun.model.container import MessagePolicy
from nsrun.support.fds import Fd

__all__ = ["make_message_file", "read_message_file", "termination_message"]

FILE_LIMIT = 4096
LOG_LINES, LOG_LIMIT = 80, 2048


def make_message_file(path: Path) -> None:
    """An empty file that every user may write to. Raises OSError."""
    with Fd.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666) as file:
        os.fchmod(file.fileno(), 0o666)


def read_message_file(path: Path) -> bytes:
    """The last 4096 bytes; empty when there is no such file. Raises OSError."""
    try:
        file = Fd.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return b""
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return b""
        return os.pread(file.fileno(), FILE_LIMIT, max(0, status.st_size - FILE_LIMIT))


def termination_message(
    policy: MessagePolicy, *, failed: bool, file: Callable[[], bytes], log: Callable[[int, int], bytes]
) -> str:
    """``failed``: its code is not 0. ``file`` reads the file, ``log`` the last lines of the log, so many bytes at
    most; what cannot be read says so in its place."""
    try:
        said = file()
        if not said and failed and policy is MessagePolicy.FALLBACK_TO_LOGS_ON_ERROR:
            said = log(LOG_LINES, LOG_LIMIT)
    except OSError as error:
        return f"cannot read the termination message: {describe_errno(error.errno or 0)}"
    return said.decode("utf-8", "replace")
