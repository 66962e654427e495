"""SPDY/3.1's frames as values, to and from bytes. Header blocks stay compressed here.

A control frame: a bit that is 1, 15 bits of version, 16 of type, 8 of flags, 24 of length. A data frame: a bit that is
0, 31 bits of stream, 8 of flags, 24 of length. SPDY Protocol, Draft 3.1, §2.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from nsrun.api.streaming.spdy_headers import SpdyError

__all__ = [
    "Data",
    "Frame",
    "FrameReader",
    "GoAway",
    "Headers",
    "Ping",
    "ResetStatus",
    "RstStream",
    "Setting",
    "Settings",
    "SynReply",
    "SynStream",
    "Unknown",
    "WindowUpdate",
    "encode",
]

VERSION = 3
MAX_CONTROL = 16 << 10  # bytes behind the head of a control frame
_CONTROL, _FIN, _UNIDIRECTIONAL = 0x80000000, 0x01, 0x02
_ID = 0x7FFFFFFF
_HEAD = struct.Struct("!II")
_ONE, _TWO = struct.Struct("!I"), struct.Struct("!II")
_SYN_STREAM = struct.Struct("!IIBB")


class _Type(IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetStatus(IntEnum):
    """Why a stream was ended (§2.6.3)."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_ALREADY_CLOSED = 9


class Setting(IntEnum):
    """Those of SETTINGS' numbers that mean something here (§2.6.4)."""

    MAX_CONCURRENT_STREAMS = 4
    INITIAL_WINDOW_SIZE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class SynStream:
    """A stream begins. ``fin``: its sender says nothing more; ``unidirectional``: it hears nothing either."""

    stream: int
    block: bytes
    fin: bool = False
    unidirectional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SynReply:
    """The stream is accepted."""

    stream: int
    block: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RstStream:
    """The stream ends at once, both ways. ``status``: a ResetStatus, or another number."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Number and value of each."""

    values: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """To be sent back as it is; a client's numbers are odd, a server's even."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """No stream after ``last`` will be looked at."""

    last: int
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """More headers of a stream."""

    stream: int
    block: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowUpdate:
    """``delta`` bytes more may be sent, on a stream or, 0, on all together."""

    stream: int
    delta: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Bytes of a stream: a whole frame or, when read, as much of it as has come."""

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A control frame of another type: to be ignored."""

    type: int


Frame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | Headers | WindowUpdate | Data | Unknown


def encode(frame: Frame) -> bytes:
    """The bytes of a frame of ours. Data of at most 2²⁴ − 1 bytes."""
    match frame:
        case Data(stream=stream, data=data, fin=fin):
            return _HEAD.pack(stream, (_FIN if fin else 0) << 24 | len(data)) + data
        case SynStream(stream=stream, block=block, fin=fin, unidirectional=alone):
            flags = (_FIN if fin else 0) | (_UNIDIRECTIONAL if alone else 0)
            return _control(_Type.SYN_STREAM, _SYN_STREAM.pack(stream, 0, 0, 0) + block, flags)
        case SynReply(stream=stream, block=block, fin=fin):
            return _control(_Type.SYN_REPLY, _ONE.pack(stream) + block, _FIN if fin else 0)
        case Headers(stream=stream, block=block, fin=fin):
            return _control(_Type.HEADERS, _ONE.pack(stream) + block, _FIN if fin else 0)
        case RstStream(stream=stream, status=status):
            return _control(_Type.RST_STREAM, _TWO.pack(stream, status))
        case Settings(values=values):
            return _control(_Type.SETTINGS, _ONE.pack(len(values)) + b"".join(_TWO.pack(*pair) for pair in values))
        case Ping(number=number):
            return _control(_Type.PING, _ONE.pack(number))
        case GoAway(last=last, status=status):
            return _control(_Type.GOAWAY, _TWO.pack(last, status))
        case WindowUpdate(stream=stream, delta=delta):
            return _control(_Type.WINDOW_UPDATE, _TWO.pack(stream, delta))
        case Unknown(type=type):
            return _control(type, b"")


def _control(type: int, payload: bytes, flags: int = 0) -> bytes:
    return _HEAD.pack(_CONTROL | VERSION << 16 | type, flags << 24 | len(payload)) + payload


class FrameReader:
    """Frames out of bytes that come in pieces.

    Invariant: ``_data`` is what has not come yet of a data frame (stream, bytes, fin), None outside of one;
    ``_received`` holds less than a whole control frame, and nothing inside a data frame, after each ``feed``.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self._data: tuple[int, int, bool] | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now, and what has come of a data frame. Raises SpdyError."""
        self._received += data
        while True:
            frame = self._rest_of_data() if self._data is not None else self._next()
            if frame is None:
                return
            yield frame

    def _rest_of_data(self) -> Frame | None:
        assert self._data is not None
        stream, missing, fin = self._data
        if missing and not self._received:
            return None
        piece = bytes(self._received[:missing])
        del self._received[:missing]
        missing -= len(piece)
        self._data = (stream, missing, fin) if missing else None
        return Data(stream=stream, data=piece, fin=fin and not missing)

    def _next(self) -> Frame | None:
        if len(self._received) < _HEAD.size:
            return None
        first, second = _HEAD.unpack_from(self._received)
        flags, length = second >> 24, second & 0xFFFFFF
        if not first & _CONTROL:
            del self._received[: _HEAD.size]
            self._data = (first, length, bool(flags & _FIN))
            return self._rest_of_data()
        if (first & ~_CONTROL) >> 16 != VERSION:
            raise SpdyError("cannot take a frame: it is not of SPDY/3")
        if length > MAX_CONTROL:
            raise SpdyError(f"cannot take a control frame: it has more than {MAX_CONTROL} bytes")
        end = _HEAD.size + length
        if len(self._received) < end:
            return None
        payload = bytes(self._received[_HEAD.size : end])
        del self._received[:end]
        return _decode(first & 0xFFFF, flags, payload)


def _decode(type: int, flags: int, payload: bytes) -> Frame:
    """Raises SpdyError."""
    fin = bool(flags & _FIN)
    try:
        match type:
            case _Type.SYN_STREAM:
                stream = _SYN_STREAM.unpack_from(payload)[0]
                return SynStream(
                    stream=stream & _ID,
                    block=payload[_SYN_STREAM.size :],
                    fin=fin,
                    unidirectional=bool(flags & _UNIDIRECTIONAL),
                )
            case _Type.SYN_REPLY:
                return SynReply(stream=_first(payload), block=payload[_ONE.size :], fin=fin)
            case _Type.HEADERS:
                return Headers(stream=_first(payload), block=payload[_ONE.size :], fin=fin)
            case _Type.RST_STREAM:
                stream, status = _TWO.unpack(payload)
                return RstStream(stream=stream & _ID, status=status)
            case _Type.SETTINGS:
                return _settings(payload)
            case _Type.PING:
                return Ping(number=_ONE.unpack(payload)[0])
            case _Type.GOAWAY:
                last, status = _TWO.unpack(payload)
                return GoAway(last=last & _ID, status=status)
            case _Type.WINDOW_UPDATE:
                stream, delta = _TWO.unpack(payload)
                return WindowUpdate(stream=stream & _ID, delta=delta & _ID)
    except struct.error:
        raise SpdyError(f"cannot take a control frame of type {type}: it has {len(payload)} bytes") from None
    return Unknown(type=type)


def _first(payload: bytes) -> int:
    return int(_ONE.unpack_from(payload)[0]) & _ID


def _settings(payload: bytes) -> Settings:
    (count,) = _ONE.unpack_from(payload)
    if len(payload) != _ONE.size + count * _TWO.size:
        raise struct.error
    return Settings(values=tuple((first & 0xFFFFFF, value) for first, value in _TWO.iter_unpack(payload[_ONE.size :])))
