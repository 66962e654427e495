"""From a container's output to CRI log records."""

from __future__ import annotations

import os
import re
import subprocess
import time
from datetime import UTC, datetime

import pytest

from nsrun.support.native import abi
from tests.native.pods import Pod, eventually

pytestmark = pytest.mark.root

CHUNK = 16384


def contents(pod: Pod, id: str, stream: str = "stdout") -> list[tuple[str, bytes]]:
    return [("P" if r.partial else "F", r.content) for r in pod.log(id) if r.stream == stream]


def test_lines_of_both_streams(pod: Pod) -> None:
    before = time.time_ns()
    pod.run("c.0", pod.finished(pod.plan("c.0"), "say", "one", "say", "", "complain", "two", "say", "three"))
    assert contents(pod, "c.0") == [("F", b"one"), ("F", b""), ("F", b"three")]
    assert contents(pod, "c.0", "stderr") == [("F", b"two")]
    for record in pod.log("c.0"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", record.time)
        stamp = datetime.strptime(record.time[:-4] + "Z", "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
        assert before / 1e9 - 1 <= stamp <= time.time() + 1
    assert pod.log_path("c.0").stat().st_mode & 0o777 == 0o640


def test_line_that_comes_in_pieces_is_one_record(pod: Pod) -> None:
    pod.run("c.0", pod.finished(pod.plan("c.0"), "mutter", "a", "mutter", "b", "say", "c", "mutter", "unfinished"))
    assert contents(pod, "c.0") == [("F", b"abc"), ("F", b"unfinished")]


@pytest.mark.parametrize("length", [CHUNK - 1, CHUNK, CHUNK + 1, 40000, 3 * CHUNK])
def test_long_lines_become_partial_records(pod: Pod, length: int) -> None:
    pod.run("c.0", pod.finished(pod.plan("c.0"), "put", str(length), "say", "", "say", "next"))
    found = contents(pod, "c.0")
    assert found.pop() == ("F", b"next")
    assert b"".join(content for _, content in found) == b"x" * length
    assert [tag for tag, _ in found] == ["P"] * (len(found) - 1) + ["F"]
    assert all(len(content) <= CHUNK for _, content in found)


@pytest.mark.parametrize("length", [5, CHUNK, CHUNK + 5])
def test_last_line_without_newline_is_ended(pod: Pod, length: int) -> None:
    pod.run("c.0", pod.finished(pod.plan("c.0"), "put", str(length)))
    found = contents(pod, "c.0")
    assert found[-1][0] == "F"
    assert b"".join(content for _, content in found) == b"x" * length


def test_flood_is_complete_and_in_order(plain_pod: Pod) -> None:
    lines = plain_pod.run("c.0", plain_pod.finished(plain_pod.plan("c.0"), "flood", "100000"))
    assert [int(line.split()[1]) for line in lines] == list(range(100000))
    assert plain_pod.record("c.0")["dropped"] == 0


def test_full_disk_stops_the_log_and_not_the_container(pod: Pod) -> None:
    """What cannot be written is counted, and the log holds whole records only."""
    small = pod.base / "logs"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        lines = pod.run("c.0", pod.finished(pod.plan("c.0"), "flood", "20000", "exit", "3"))
        record = pod.record("c.0")
        assert os.waitstatus_to_exitcode(record["wait_status"]) == 3
        assert record["dropped"] > 0
        assert len(lines) + record["dropped"] == 20000
        assert [int(line.split()[1]) for line in lines] == list(range(len(lines)))
        entry = next(entry for entry in pod.client.entries() if entry.id == "c.0")
        assert entry.dropped == record["dropped"]
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_log_goes_on_when_there_is_room_again(plain_pod: Pod) -> None:
    pod = plain_pod
    small = pod.base / "logs"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        (small / "filler").write_bytes(bytes(60000))
        plan = pod.finished(pod.plan("c.0"), "flood", "5000", "await", "say", "after")
        assert pod.launch("c.0", plan).kind == abi.NS_MSG_DONE

        def accounted() -> int:
            return pod.log_path("c.0").read_bytes().count(b"\n") + pod.client.entries()[0].dropped

        eventually(lambda: accounted() == 5000, "the end of the flood")
        (small / "filler").unlink()
        pod.proceed("c.0")
        pod.client.exit_of("c.0")
        assert pod.log("c.0")[-1].content == b"after"
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_reopen_after_rotation(pod: Pod) -> None:
    plan = pod.finished(pod.plan("c.0"), "say", "old", "await", "say", "new")
    assert pod.launch("c.0", plan).kind == abi.NS_MSG_DONE
    eventually(lambda: pod.log_path("c.0").stat().st_size > 0, "the first record")
    pod.log_path("c.0").rename(pod.base / "logs/rotated")
    assert pod.client.ask(abi.NS_REQ_REOPEN, id="c.0").kind == abi.NS_MSG_DONE
    pod.proceed("c.0")
    pod.client.exit_of("c.0")
    assert contents(pod, "c.0") == [("F", b"new")]
    assert (pod.base / "logs/rotated").read_bytes().endswith(b" stdout F old\n")


def test_log_is_appended_to(plain_pod: Pod) -> None:
    plain_pod.log_path("c.0").write_bytes(b"2020-01-01T00:00:00.000000000Z stdout F earlier\n")
    assert plain_pod.run("c.0", plain_pod.finished(plain_pod.plan("c.0"), "say", "later")) == ["earlier", "later"]


def test_descendant_that_holds_the_pipe(pod: Pod) -> None:
    """The end is told although a grandchild still has the pipe; it is killed with the pod, and was no zombie before."""
    plan = pod.finished(pod.plan("c.0", new_namespaces=0x00020000), "leave", "60", "say", "first", "exit", "5")
    assert pod.launch("c.0", plan).kind == abi.NS_MSG_DONE
    message = pod.client.exit_of("c.0")
    assert os.waitstatus_to_exitcode(message.wait_status) == 5
    assert contents(pod, "c.0")[0] == ("F", b"first")
