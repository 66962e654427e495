"""The two messages of the health service, and how gRPC says things."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.probes.grpc_messages import code_name, encoded_request, message_text, serving_status
from nsrun.probes.wording import ProbeFailure, errno_text, join_host_port, quoted, shortened


def framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


def test_requests() -> None:
    assert encoded_request("") == b"\x00\x00\x00\x00\x00"
    assert encoded_request("db") == b"\x00\x00\x00\x00\x04\x0a\x02db"
    assert encoded_request("x" * 200) == framed(b"\x0a\xc8\x01" + b"x" * 200)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"", "UNKNOWN"),
        (b"\x08\x01", "SERVING"),
        (b"\x08\x02", "NOT_SERVING"),
        (b"\x08\x03", "SERVICE_UNKNOWN"),
        (b"\x08\x09", "9"),
        (b"\x08\x02\x08\x01", "SERVING"),
        # Fields of a newer service: a number, bytes, 64 and 32 bits.
        (b"\x10\x07\x1a\x02ab\x21" + b"\0" * 8 + b"\x2d" + b"\0" * 4 + b"\x08\x01", "SERVING"),
    ],
)
def test_responses(message: bytes, status: str) -> None:
    assert serving_status(framed(message)) == status


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00",
        b"\x01\x00\x00\x00\x00",
        b"\x00\x00\x00\x00\x02\x08",
        framed(b"\x08\x01") + b"more",
        framed(b"\x08"),
        framed(b"\x0b"),
        framed(b"\x1a\x05ab"),
        framed(b"\x08" + b"\xff" * 11),
        framed(b"\x21\0"),
    ],
)
def test_what_is_no_response(data: bytes) -> None:
    with pytest.raises(ProbeFailure, match="rpc error: code = Internal"):
        serving_status(data)


@settings(deadline=None)
@given(message=st.binary(max_size=40))
def test_any_message_is_a_status_or_a_failure(message: bytes) -> None:
    try:
        assert serving_status(framed(message))
    except ProbeFailure:
        pass


def test_codes() -> None:
    assert [code_name(text) for text in ("0", "5", "12", "16", "17", "x", "", "-1", "9999")] == [
        "OK",
        "NotFound",
        "Unimplemented",
        "Unauthenticated",
        "Code(17)",
        "Unknown",
        "Unknown",
        "Unknown",
        "Unknown",
    ]


def test_messages_are_percent_encoded() -> None:
    assert message_text("unknown%20service %C3%BC") == "unknown service ü"
    assert message_text("%ff%zz") == "�%zz"


def test_words() -> None:
    assert join_host_port("10.0.0.1", 80) == "10.0.0.1:80"
    assert join_host_port("::1", 80) == "[::1]:80"
    assert errno_text(ConnectionRefusedError(111, "x")) == "connection refused"
    assert errno_text(OSError("Bad thing")) == "bad thing"
    assert quoted(b'a"b\\c\nd\xff\x1b\xc3\xbc') == r'''"a\"b\\c\nd\xff\x1bü"'''
    assert len(shortened("x" * 5000)) == 1024
    assert shortened("x") == "x"
    assert len(quoted(b"\xff" * 5000)) <= 1026
