"""The rules of a SPDY connection, without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.api.streaming.spdy import WINDOW, DataReceived, Event, SpdyServer, StreamOpened, StreamReset
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
    Unknown,
    WindowUpdate,
    encode,
)
from nsrun.api.streaming.spdy_headers import HeaderWriter, SpdyError
from tests.unit.api.streaming.test_spdy_frames import FRAMES

# ``kubectl exec -i web -- cat`` with "hello", all of it after the 101.
KUBECTL = bytes.fromhex(
    "80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff"
    "800300010000001700000003000000000000c22e555c92929907000000ffff"
    "800300010000001900000005000000000000c22ac5565c92925f5a02000000ffff"
    "800300010000001500000007000000000000c229975a5404000000ffff"
    "000000030000000668656c6c6f0a0000000301000000"
    "80030003000000080000000100000005800300030000000800000005000000058003000300000008000000070000000580030007"
    "000000080000000000000000"
)


class Talk:
    """A server, and what a client says to it."""

    def __init__(self, max_streams: int = 1000) -> None:
        self.server = SpdyServer(max_streams=max_streams)
        self._blocks = HeaderWriter()
        self._reader = FrameReader()

    def hears(self, *frames: Frame) -> list[Event]:
        return [event for frame in frames for event in self.server.receive(encode(frame))]

    def opens(self, number: int, *, fin: bool = False, unidirectional: bool = False, **headers: str) -> list[Event]:
        block = self._blocks.write(headers)
        return self.hears(SynStream(stream=number, block=block, fin=fin, unidirectional=unidirectional))

    def block(self, **headers: str) -> bytes:
        return self._blocks.write(headers)

    def says(self) -> list[Frame]:
        return list(self._reader.feed(self.server.take()))


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_a_whole_session_of_kubectl() -> None:
    server = SpdyServer()
    assert list(server.receive(KUBECTL)) == [
        StreamOpened(stream=1, headers={"streamtype": "error"}, fin=False),
        StreamOpened(stream=3, headers={"streamtype": "stdin"}, fin=False),
        StreamOpened(stream=5, headers={"streamtype": "stdout"}, fin=False),
        StreamOpened(stream=7, headers={"streamtype": "stderr"}, fin=False),
        DataReceived(stream=3, data=b"hello\n", fin=False),
        DataReceived(stream=3, data=b"", fin=True),
        StreamReset(stream=1),
        StreamReset(stream=5),
        StreamReset(stream=7),
    ]


def test_a_stream_is_answered_used_and_ended(talk: Talk) -> None:
    assert talk.opens(1, kind="a") == [StreamOpened(stream=1, headers={"kind": "a"}, fin=False)]
    talk.server.reply(1)
    talk.server.send(1, b"out")
    talk.server.end(1)
    talk.server.end(1)
    reply, *rest = talk.says()
    assert isinstance(reply, SynReply)
    assert rest == [Data(stream=1, data=b"out"), Data(stream=1, data=b"", fin=True)]
    assert talk.server.is_open(1)
    assert talk.hears(Data(stream=1, data=b"in", fin=True)) == [DataReceived(stream=1, data=b"in", fin=True)]
    assert not talk.server.is_open(1)
    with pytest.raises(KeyError):
        talk.server.sendable(1)


def test_what_was_ended_from_here_takes_nothing_more(talk: Talk) -> None:
    talk.opens(1)
    talk.server.end(1)
    with pytest.raises(KeyError):
        talk.server.sendable(1)


def test_what_comes_for_closed_streams_is_ignored_and_for_others_refused(talk: Talk) -> None:
    talk.opens(1)
    talk.server.reset(1)
    talk.server.reset(1)
    assert talk.says() == [RstStream(stream=1, status=ResetStatus.CANCEL)]
    assert talk.hears(Data(stream=1, data=b"late"), RstStream(stream=1, status=5)) == []
    assert talk.says() == []
    talk.server.reply(1)
    assert talk.says() == []
    assert talk.hears(Data(stream=9, data=b"?"), Data(stream=2, data=b"?")) == []
    assert talk.says() == [RstStream(stream=n, status=ResetStatus.INVALID_STREAM) for n in (9, 2)]


def test_what_comes_behind_the_end_resets_the_stream(talk: Talk) -> None:
    talk.opens(1, fin=True)
    assert talk.hears(Data(stream=1, data=b"more")) == [StreamReset(stream=1)]
    assert talk.says() == [RstStream(stream=1, status=ResetStatus.STREAM_ALREADY_CLOSED)]


def test_a_reset_is_told_once(talk: Talk) -> None:
    talk.opens(1)
    assert talk.hears(RstStream(stream=1, status=5)) == [StreamReset(stream=1)]
    assert talk.hears(RstStream(stream=1, status=5)) == []
    assert talk.says() == []


@pytest.mark.parametrize("number", [0, 2, 3, 1])
def test_numbers_are_odd_and_grow(talk: Talk, number: int) -> None:
    talk.opens(3)
    with pytest.raises(SpdyError, match=f"cannot open stream {number}"):
        talk.opens(number)
    assert talk.says() == [GoAway(last=3, status=1)]


def test_too_many_streams_are_refused_and_their_headers_still_understood() -> None:
    talk = Talk(max_streams=2)
    for number in (1, 3, 5):
        talk.opens(number, kind=f"number {number}")
    assert talk.says() == [RstStream(stream=5, status=ResetStatus.REFUSED_STREAM)]
    talk.hears(RstStream(stream=1, status=5))
    assert talk.opens(7, kind="x") == [StreamOpened(stream=7, headers={"kind": "x"}, fin=False)]


def test_streams_that_hear_nothing_are_refused(talk: Talk) -> None:
    assert talk.opens(1, unidirectional=True) == []
    assert talk.says() == [RstStream(stream=1, status=ResetStatus.REFUSED_STREAM)]


def test_headers_that_no_stream_may_have_reset_it(talk: Talk) -> None:
    assert talk.opens(1, Upper="x") == []
    assert talk.says() == [RstStream(stream=1, status=ResetStatus.PROTOCOL_ERROR)]


def test_more_headers_may_end_a_stream(talk: Talk) -> None:
    talk.opens(1)
    assert talk.hears(Headers(stream=1, block=talk.block(more="x"))) == []
    end = Headers(stream=1, block=talk.block(), fin=True)
    assert talk.hears(end) == [DataReceived(stream=1, data=b"", fin=True)]
    assert talk.hears(Headers(stream=1, block=talk.block(), fin=True)) == []


def test_a_client_answers_no_streams(talk: Talk) -> None:
    assert talk.hears(SynReply(stream=2, block=talk.block())) == []
    assert talk.says() == [RstStream(stream=2, status=ResetStatus.PROTOCOL_ERROR)]


def test_pings_are_sent_back_and_our_own_are_heard(talk: Talk) -> None:
    talk.hears(Ping(number=7))
    assert talk.says() == [Ping(number=7)]
    talk.server.ping()
    assert talk.says() == [Ping(number=2)]
    talk.hears(Ping(number=2), GoAway(last=0, status=0), Unknown(type=99))
    assert talk.says() == []


def test_what_cannot_be_understood_is_the_end(talk: Talk) -> None:
    talk.opens(5)
    with pytest.raises(SpdyError):
        talk.hears(SynStream(stream=7, block=b"no zlib"))
    assert talk.says() == [GoAway(last=5, status=1)]


# --- windows


def test_a_client_that_knows_of_no_windows_is_sent_as_much_as_it_takes(talk: Talk) -> None:
    talk.opens(1)
    for _ in range(10):
        assert talk.server.sendable(1) == WINDOW
        talk.server.send(1, b"x" * WINDOW)


def test_windows_are_kept_to_once_the_client_has_spoken_of_them(talk: Talk) -> None:
    talk.opens(1)
    talk.opens(3)
    talk.server.send(1, b"x" * 60000)
    talk.hears(WindowUpdate(stream=1, delta=30000), WindowUpdate(stream=0, delta=30000))
    assert talk.server.sendable(1) == WINDOW - 30000
    assert talk.server.sendable(3) == WINDOW - 30000  # of all together
    talk.server.send(1, b"x" * (WINDOW - 30000))
    assert talk.server.sendable(1) == 0
    talk.hears(WindowUpdate(stream=1, delta=10))
    assert talk.server.sendable(1) == 0
    talk.hears(WindowUpdate(stream=0, delta=5))
    assert talk.server.sendable(1) == 5
    talk.hears(WindowUpdate(stream=99, delta=5))


def test_the_initial_window_changes_every_stream(talk: Talk) -> None:
    talk.opens(1)
    talk.server.send(1, b"x" * 1000)
    talk.hears(Settings(values=((Setting.MAX_CONCURRENT_STREAMS, 5), (Setting.INITIAL_WINDOW_SIZE, 1500))))
    assert talk.server.sendable(1) == 500
    talk.hears(Settings(values=((Setting.INITIAL_WINDOW_SIZE, 400),)))
    assert talk.server.sendable(1) == 0
    talk.opens(3)
    assert talk.server.sendable(3) == 400


@pytest.mark.parametrize(
    "frame",
    [
        WindowUpdate(stream=0, delta=0),
        WindowUpdate(stream=0, delta=0x7FFFFFFF),
        Settings(values=((Setting.INITIAL_WINDOW_SIZE, 0x80000000),)),
    ],
)
def test_windows_that_end_the_connection(talk: Talk, frame: Frame) -> None:
    with pytest.raises(SpdyError):
        talk.hears(frame)


def test_a_window_that_is_too_large_resets_its_stream(talk: Talk) -> None:
    talk.opens(1)
    assert talk.hears(WindowUpdate(stream=1, delta=0x7FFFFFFF)) == [StreamReset(stream=1)]
    assert talk.says() == [RstStream(stream=1, status=ResetStatus.FLOW_CONTROL_ERROR)]


def test_what_was_consumed_is_granted_again(talk: Talk) -> None:
    talk.opens(1)
    talk.hears(Data(stream=1, data=b"x" * (WINDOW // 2)))
    assert talk.says() == []
    talk.server.consumed(1, WINDOW // 2 - 1)
    assert talk.says() == []
    talk.server.consumed(1, 1)
    granted = WINDOW // 2
    assert talk.says() == [WindowUpdate(stream=0, delta=granted), WindowUpdate(stream=1, delta=granted)]


def test_what_nobody_wants_is_granted_to_the_connection(talk: Talk) -> None:
    talk.opens(1)
    talk.server.reset(1)
    talk.says()
    talk.hears(Data(stream=1, data=b"x" * WINDOW))
    assert talk.says() == [WindowUpdate(stream=0, delta=WINDOW)]
    talk.server.consumed(1, WINDOW)
    assert talk.says() == [WindowUpdate(stream=0, delta=WINDOW)]


# --- whatever comes


@given(st.lists(FRAMES, max_size=20), st.binary(max_size=40))
def test_a_client_of_ill_will_costs_no_more_than_it_sends(frames: list[Frame], rest: bytes) -> None:
    server = SpdyServer(max_streams=4)
    said = b"".join(map(encode, frames)) + rest
    open_streams: set[int] = set()
    try:
        for event in server.receive(said):
            if isinstance(event, StreamOpened):
                open_streams.add(event.stream)
            elif isinstance(event, StreamReset) or event.fin:
                open_streams.discard(event.stream)
            assert len(open_streams) <= 4
    except SpdyError:
        pass
    assert server.waiting <= 2 * len(said) + 16


@given(st.data())
def test_talk_of_good_will_is_understood(data: st.DataObject) -> None:
    """Streams that are opened, written to and ended in any order: every byte arrives, in order, and then the end."""
    talk, sent, got = Talk(), {}, {}
    ended: set[int] = set()
    for number in range(1, 2 * data.draw(st.integers(1, 5)), 2):
        talk.opens(number)
        sent[number], got[number] = b"", b""
    for _ in range(data.draw(st.integers(0, 20))):
        number = data.draw(st.sampled_from(sorted(sent)))
        if number in ended:
            continue
        piece, fin = data.draw(st.binary(max_size=20)), data.draw(st.booleans())
        sent[number] += piece
        if fin:
            ended.add(number)
        (event,) = talk.hears(Data(stream=number, data=piece, fin=fin))
        assert isinstance(event, DataReceived)
        got[event.stream] += event.data
        assert event.fin == fin
    assert got == sent
