"""SPDY/3.1 as a server speaks it: bytes in, events out, bytes to send; no connection, no clock.

The rules, from SPDY Protocol, Draft 3.1:

* Streams are opened by the client, with odd numbers that grow. A stream is closed when both sides said FIN, or one
  RST_STREAM. What comes for a closed stream is ignored; what comes behind a FIN resets it.
* What cannot be understood ends the connection (SpdyError, after a GOAWAY); what is wrong with one stream resets it.
* Flow control (§2.6.8): each side may send 64 KiB on a stream, and on all together, and more as the other side says so.
  The client that Kubernetes' programs have (moby/spdystream) neither keeps to that nor ever says so: it counts on TCP.
  So windows are granted always, but heeded only once the client has shown that it knows of them; and who sends more
  than was granted is not reset: whoever owns the connection reads no faster than streams are consumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nsrun.api.streaming.spdy_frames import (
    Data,
    Frame,
    FrameReader,
    GoAway,
    Headers,
    Ping,
    ResetStatus,
    RstStream,
    Setting,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
    encode,
)
from nsrun.api.streaming.spdy_headers import HeaderError, HeaderReader, HeaderWriter, SpdyError

__all__ = ["WINDOW", "DataReceived", "Event", "SpdyServer", "StreamOpened", "StreamReset"]

WINDOW = 64 << 10
MAX_STREAMS = 1000
_MAX_WINDOW = (1 << 31) - 1
_PROTOCOL_ERROR = 1  # GOAWAY's (§2.6.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened:
    """To be answered with ``reply`` or ``reset``. ``fin``: nothing will come on it."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReceived:
    """``fin``: the last of it. To be followed by ``consumed``, as it is."""

    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReset:
    """The client wants no more of it."""

    stream: int


Event = StreamOpened | DataReceived | StreamReset


@dataclass(slots=True)
class _Half:
    """What one side may still say. ``granted``: bytes that were consumed here, and not granted anew yet."""

    send_window: int
    granted: int = 0
    we_ended: bool = False
    they_ended: bool = False


@dataclass(slots=True)
class _Windows:
    """Of all streams together. ``heeded``: the client has shown that it knows of windows."""

    send: int = WINDOW
    initial: int = WINDOW
    consumed: int = 0
    heeded: bool = False


@dataclass(slots=True)
class SpdyServer:
    """One connection. ``take`` what is to be sent after every call.

    Invariant: ``_streams`` has exactly the streams that are not closed; ``_last`` is the highest ever opened."""

    max_streams: int = MAX_STREAMS
    _streams: dict[int, _Half] = field(init=False, default_factory=dict)
    _last: int = field(init=False, default=0)
    _windows: _Windows = field(init=False, default_factory=_Windows)
    _frames: FrameReader = field(init=False, default_factory=FrameReader)
    _blocks_in: HeaderReader = field(init=False, default_factory=HeaderReader)
    _blocks_out: HeaderWriter = field(init=False, default_factory=HeaderWriter)
    _out: bytearray = field(init=False, default_factory=bytearray)

    # --- what comes

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the bytes say; run it to its end. Raises SpdyError: then ``take`` once more, and the connection is
        over."""
        try:
            for frame in self._frames.feed(data):
                event = self._handle(frame)
                if event is not None:
                    yield event
        except SpdyError:
            self._send(GoAway(last=self._last, status=_PROTOCOL_ERROR))
            raise

    def _handle(self, frame: Frame) -> Event | None:
        match frame:
            case Data():
                return self._data(frame)
            case SynStream():
                return self._opened(frame)
            case RstStream(stream=number):
                return StreamReset(stream=number) if self._streams.pop(number, None) is not None else None
            case WindowUpdate():
                return self._granted(frame)
            case Settings():
                self._settings(frame)
            case Ping(number=number):
                if number % 2:
                    self._send(frame)
            case Headers(stream=number, fin=fin):
                self._block(frame.block)
                return self._ended(number) if fin else None
            case SynReply(stream=number):
                self._block(frame.block)
                self._send(RstStream(stream=number, status=ResetStatus.PROTOCOL_ERROR))
            case _:
                pass  # GOAWAY: nothing was opened from here; unknown types are ignored
        return None

    def _opened(self, frame: SynStream) -> Event | None:
        number = frame.stream
        headers = self._block(frame.block)
        if number % 2 == 0 or number <= self._last:
            raise SpdyError(f"cannot open stream {number}: the last one was {self._last}")
        self._last = number
        if headers is None or frame.unidirectional or len(self._streams) >= self.max_streams:
            status = ResetStatus.PROTOCOL_ERROR if headers is None else ResetStatus.REFUSED_STREAM
            self._send(RstStream(stream=number, status=status))
            return None
        self._streams[number] = _Half(send_window=self._windows.initial, they_ended=frame.fin)
        return StreamOpened(stream=number, headers=headers, fin=frame.fin)

    def _block(self, block: bytes) -> Mapping[str, str] | None:
        """None: it was understood, and is not allowed."""
        try:
            return self._blocks_in.read(block)
        except HeaderError:
            return None

    def _data(self, frame: Data) -> Event | None:
        half = self._streams.get(frame.stream)
        if half is None or half.they_ended:
            self._grant_all(len(frame.data))
            if half is not None:
                self.reset(frame.stream, ResetStatus.STREAM_ALREADY_CLOSED)
                return StreamReset(stream=frame.stream)
            if frame.stream > self._last or frame.stream % 2 == 0:
                self._send(RstStream(stream=frame.stream, status=ResetStatus.INVALID_STREAM))
            return None
        if frame.fin:
            half.they_ended = True
            self._forget_closed(frame.stream)
        return DataReceived(stream=frame.stream, data=frame.data, fin=frame.fin)

    def _ended(self, number: int) -> Event | None:
        """A FIN without data."""
        half = self._streams.get(number)
        if half is None or half.they_ended:
            return None
        half.they_ended = True
        self._forget_closed(number)
        return DataReceived(stream=number, data=b"", fin=True)

    def _granted(self, frame: WindowUpdate) -> Event | None:
        self._windows.heeded = True
        if frame.delta == 0:
            raise SpdyError("cannot take a window update of nothing")
        if frame.stream == 0:
            self._windows.send += frame.delta
            if self._windows.send > _MAX_WINDOW:
                raise SpdyError("cannot take a window update: the window of the connection is too large")
            return None
        half = self._streams.get(frame.stream)
        if half is None:
            return None
        half.send_window += frame.delta
        if half.send_window <= _MAX_WINDOW:
            return None
        self.reset(frame.stream, ResetStatus.FLOW_CONTROL_ERROR)
        return StreamReset(stream=frame.stream)

    def _settings(self, frame: Settings) -> None:
        for setting, value in frame.values:
            if setting != Setting.INITIAL_WINDOW_SIZE:
                continue
            if value > _MAX_WINDOW:
                raise SpdyError("cannot take the settings: the initial window is too large")
            self._windows.heeded = True
            change, self._windows.initial = value - self._windows.initial, value
            for half in self._streams.values():
                half.send_window += change

    # --- what goes

    def take(self) -> bytes:
        """What is to be sent now, once."""
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def waiting(self) -> int:
        """How many bytes there are to take."""
        return len(self._out)

    def is_open(self, number: int) -> bool:
        """Whether anything can still be said on the stream, from either side."""
        return number in self._streams

    def reply(self, number: int) -> None:
        """Accepts a stream."""
        if number in self._streams:
            self._send(SynReply(stream=number, block=self._blocks_out.write({})))

    def sendable(self, number: int) -> int:
        """How many bytes may go on the stream now. Raises KeyError when it is closed, or was ended from here."""
        half = self._streams[number]
        if half.we_ended:
            raise KeyError(number)
        if not self._windows.heeded:
            return WINDOW
        return max(0, min(half.send_window, self._windows.send, WINDOW))

    def send(self, number: int, data: bytes) -> None:
        """At most what is ``sendable``."""
        self._streams[number].send_window -= len(data)
        self._windows.send -= len(data)
        self._send(Data(stream=number, data=data))

    def end(self, number: int) -> None:
        """Nothing more will be said on the stream; it need not be open."""
        half = self._streams.get(number)
        if half is None or half.we_ended:
            return
        half.we_ended = True
        self._send(Data(stream=number, data=b"", fin=True))
        self._forget_closed(number)

    def reset(self, number: int, status: ResetStatus = ResetStatus.CANCEL) -> None:
        """Ends the stream both ways; it need not be open."""
        if self._streams.pop(number, None) is not None:
            self._send(RstStream(stream=number, status=status))

    def consumed(self, number: int, count: int) -> None:
        """So many bytes that were received on the stream take no room any more."""
        self._grant_all(count)
        half = self._streams.get(number)
        if half is None or half.they_ended:
            return
        half.granted += count
        if half.granted >= WINDOW // 2:
            self._send(WindowUpdate(stream=number, delta=half.granted))
            half.granted = 0

    def _grant_all(self, count: int) -> None:
        self._windows.consumed += count
        if self._windows.consumed >= WINDOW // 2:
            self._send(WindowUpdate(stream=0, delta=self._windows.consumed))
            self._windows.consumed = 0

    def ping(self) -> None:
        """Something to send, to learn whether anybody is there."""
        self._send(Ping(number=2))

    def _send(self, frame: Frame) -> None:
        self._out += encode(frame)

    def _forget_closed(self, number: int) -> None:
        half = self._streams[number]
        if half.we_ended and half.they_ended:
            del self._streams[number]
