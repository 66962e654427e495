"""The messages of grpc.health.v1.Health/Check, and how gRPC frames them and says how a call ended. Pure.

message HealthCheckRequest  { string service = 1; }
message HealthCheckResponse { ServingStatus status = 1; }   UNKNOWN 0, SERVING 1, NOT_SERVING 2, SERVICE_UNKNOWN 3
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from nsrun.probes.wording import ProbeFailure

__all__ = ["code_name", "encoded_request", "message_text", "serving_status"]

_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")

# google.golang.org/grpc/codes, as its errors spell them.
_CODES = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)


def encoded_request(service: str) -> bytes:
    """The framed request: not compressed, its length, the message."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def serving_status(data: bytes) -> str:
    """The status in a framed response: ``SERVING``. Raises ProbeFailure for anything that is no response."""
    if len(data) < 5:
        raise ProbeFailure("rpc error: code = Internal desc = cardinality violation: no response message")
    if data[0] != 0:
        raise ProbeFailure("rpc error: code = Internal desc = the response is compressed, which was not asked for")
    length = int.from_bytes(data[1:5], "big")
    if len(data) != 5 + length:
        raise ProbeFailure("rpc error: code = Internal desc = unexpected EOF")
    try:
        status = _status(data[5:])
    except (ValueError, IndexError) as error:
        raise ProbeFailure("rpc error: code = Internal desc = proto: cannot parse invalid wire-format data") from error
    return _STATUSES[status] if status < len(_STATUSES) else str(status)


def code_name(text: str) -> str:
    """``12`` → ``Unimplemented``."""
    if not re.fullmatch(r"\d{1,3}", text):
        return "Unknown"
    return _CODES[int(text)] if int(text) < len(_CODES) else f"Code({int(text)})"


def message_text(header: str) -> str:
    """``grpc-message`` is percent-encoded."""
    return unquote_to_bytes(header).decode(errors="replace")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _status(message: bytes) -> int:
    """Field 1, the last that is there; others are skipped. Raises ValueError, IndexError."""
    status, at = 0, 0
    while at < len(message):
        key, at = _read_varint(message, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _read_varint(message, at)
            status = value if field == 1 else status
        elif wire == 2:
            length, at = _read_varint(message, at)
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
    if at != len(message):
        raise ValueError("cut off")
    return status


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("varint too long")
