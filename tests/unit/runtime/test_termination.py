"""Where a termination message comes from."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nsrun.model.container import MessagePolicy
from nsrun.runtime.termination import make_message_file, read_message_file, termination_message

FILE, FALLBACK = MessagePolicy.FILE, MessagePolicy.FALLBACK_TO_LOGS_ON_ERROR


@pytest.mark.parametrize(
    ("policy", "failed", "file", "expected"),
    [
        (FILE, True, b"", ""),
        (FILE, True, b"said", "said"),
        (FILE, False, b"said", "said"),
        (FALLBACK, True, b"", "80 2048"),
        (FALLBACK, True, b"said", "said"),
        (FALLBACK, False, b"", ""),
        (FILE, True, b"\xff\n", "\ufffd\n"),
    ],
)
def test_policies(policy: MessagePolicy, failed: bool, file: bytes, expected: str) -> None:
    found = termination_message(
        policy, failed=failed, file=lambda: file, log=lambda lines, limit: b"%d %d" % (lines, limit)
    )
    assert found == expected


def test_what_cannot_be_read_says_so() -> None:
    def refuse() -> bytes:
        raise PermissionError(13, "no")

    found = termination_message(FILE, failed=False, file=refuse, log=lambda lines, limit: b"")
    assert found == "cannot read the termination message: permission denied (EACCES)"


def test_every_user_may_write(tmp_path: Path) -> None:
    path = tmp_path / "log"
    old = os.umask(0o077)
    try:
        make_message_file(path)
        make_message_file(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_the_last_4096_bytes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert read_message_file(path) == b""
    path.write_bytes(b"short")
    assert read_message_file(path) == b"short"
    path.write_bytes(b"x" * 1000 + b"y" * 4096)
    assert read_message_file(path) == b"y" * 4096
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert read_message_file(path) == bytes(4096)


def test_only_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        read_message_file(tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    assert read_message_file(tmp_path / "fifo") == b""
