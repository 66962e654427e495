"""The kernel's dump of counters, taken apart."""

from __future__ import annotations

import struct

import pytest

from nsrun.model.figures import InterfaceFigures
from nsrun.network.counters import of_pod, parse_counters

NEWSTATS, DONE, ERROR = 92, 3, 2


def message(kind: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 0) + payload + b"\0" * (-len(payload) % 4)


def link(index: int, *counters: int) -> bytes:
    """With an attribute of another kind before it, as a kernel to come might have one."""
    other = struct.pack("=HHH", 6, 9, 7) + b"\0\0"
    stats = struct.pack("=25Q", *counters, *[0] * (25 - len(counters)))
    return struct.pack("=BBHII", 0, 0, 0, index, 1) + other + struct.pack("=HH", 4 + len(stats), 1) + stats


def test_links_are_found_with_their_counters() -> None:
    seen = InterfaceFigures(
        name="",
        received_packets=1,
        sent_packets=2,
        received_bytes=3,
        sent_bytes=4,
        received_errors=5,
        sent_errors=6,
        received_dropped=7,
        sent_dropped=8,
    )
    data = message(NEWSTATS, link(7, *range(1, 9))) + message(NEWSTATS, link(9))
    assert parse_counters(data) == ([(7, seen), (9, InterfaceFigures(name=""))], False)
    assert parse_counters(data + message(DONE, b"\0\0\0\0"))[1] is True


def test_the_other_end_received_what_was_sent_here() -> None:
    here = InterfaceFigures(name="nsr1", received_bytes=1, received_dropped=2, sent_packets=3, sent_errors=4)
    there = InterfaceFigures(name="eth0", sent_bytes=1, sent_dropped=2, received_packets=3, received_errors=4)
    assert of_pod(here, "eth0") == there


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(OSError, match="Errno 95"):
        parse_counters(message(ERROR, struct.pack("=i", -95)))


@pytest.mark.parametrize("end", range(0, 300, 7))
def test_a_message_that_was_cut_off_is_no_harm(end: int) -> None:
    whole = message(NEWSTATS, link(7, *range(1, 9)))
    found, done = parse_counters(whole[:end])
    assert len(found) <= 1
    assert not done


def test_an_empty_attribute_ends() -> None:
    assert parse_counters(message(NEWSTATS, struct.pack("=BBHII", 0, 0, 0, 7, 1) + bytes(8))) == ([], False)
    assert parse_counters(bytes(64)) == ([], False)
