from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nsrun.host.rootless.holding import Holder, find, format_record, parse_record, record_path, start_ticks
from nsrun.support.boot import boot_id


def test_a_record_and_back() -> None:
    holder = Holder(1, 2, "boot")
    assert parse_record(format_record(holder)) == holder


@pytest.mark.parametrize("text", ["", "1 2", "1 2 3 4", "a 2 boot", "1 -2 boot", "¹ 2 boot"])
def test_what_is_no_record(text: str) -> None:
    assert parse_record(text) is None


def test_start_of_a_process_with_an_odd_name(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 2 3"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "1000"])
    try:
        assert start_ticks(process.pid) is not None
    finally:
        process.kill()
    # Not reaped yet, or gone: either way it has ended.
    process.wait()
    assert start_ticks(process.pid) is None


def test_found_by_all_three(tmp_path: Path) -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    path = Path(record_path(str(tmp_path)))
    assert find(str(tmp_path)) is None
    for holder, there in (
        (Holder(os.getpid(), ticks, boot_id()), True),
        (Holder(os.getpid(), ticks + 1, boot_id()), False),
        (Holder(os.getpid(), ticks, "another"), False),
    ):
        path.write_text(format_record(holder))
        found = find(str(tmp_path))
        assert (found is not None) is there
        if found is not None:
            assert found[0] == holder
            found[1].close()
