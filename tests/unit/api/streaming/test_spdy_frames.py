"""Frames, to and from bytes."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.api.streaming.spdy_frames import (
    Data,
    Frame,
    FrameReader,
    GoAway,
    Headers,
    Ping,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    Unknown,
    WindowUpdate,
    encode,
)
from nsrun.api.streaming.spdy_headers import SpdyError

NUMBER = st.integers(0, 0x7FFFFFFF)
WORD = st.integers(0, 0xFFFFFFFF)
BLOCK = st.binary(max_size=40)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(SynStream, stream=NUMBER, block=BLOCK, fin=st.booleans(), unidirectional=st.booleans()),
    st.builds(SynReply, stream=NUMBER, block=BLOCK, fin=st.booleans()),
    st.builds(Headers, stream=NUMBER, block=BLOCK, fin=st.booleans()),
    st.builds(RstStream, stream=NUMBER, status=WORD),
    st.builds(Settings, values=st.lists(st.tuples(st.integers(0, 0xFFFFFF), WORD), max_size=4).map(tuple)),
    st.builds(Ping, number=WORD),
    st.builds(GoAway, last=NUMBER, status=WORD),
    st.builds(WindowUpdate, stream=NUMBER, delta=NUMBER),
    st.builds(Data, stream=NUMBER, data=st.binary(max_size=100), fin=st.booleans()),
    st.builds(Unknown, type=st.integers(11, 0xFFFF)),
)


def read(data: bytes, *cuts: int) -> list[Frame]:
    reader = FrameReader()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [frame for start, end in itertools.pairwise(edges) for frame in reader.feed(data[start:end])]


def joined(frames: list[Frame]) -> list[Frame]:
    """The pieces of a data frame as one."""
    whole: list[Frame] = []
    for frame in frames:
        last = whole[-1] if whole else None
        if isinstance(frame, Data) and isinstance(last, Data) and last.stream == frame.stream and not last.fin:
            whole[-1] = Data(stream=frame.stream, data=last.data + frame.data, fin=frame.fin)
        else:
            whole.append(frame)
    return whole


def test_frames_of_kubectl() -> None:
    """``kubectl exec -i web -- cat`` with "hello", after the 101."""
    said = bytes.fromhex(
        "800300010000001700000003000000000000c22e555c92929907000000ffff"
        "000000030000000668656c6c6f0a"
        "0000000301000000"
        "80030003000000080000000100000005"
        "80030007000000080000000000000000"
    )
    assert read(said) == [
        SynStream(stream=3, block=bytes.fromhex("c22e555c92929907000000ffff")),
        Data(stream=3, data=b"hello\n"),
        Data(stream=3, data=b"", fin=True),
        RstStream(stream=1, status=5),
        GoAway(last=0, status=0),
    ]


def test_frames_to_kubectl() -> None:
    assert encode(SynReply(stream=1, block=b"\1")).hex() == "80030002000000050000000101"
    assert encode(Data(stream=5, data=b"hi", fin=True)).hex() == "00000005010000026869"
    assert encode(WindowUpdate(stream=3, delta=32768)).hex() == "80030009000000080000000300008000"


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 1000), max_size=5))
def test_what_is_written_is_read_however_it_is_cut(frames: list[Frame], cuts: list[int]) -> None:
    assert joined(read(b"".join(map(encode, frames)), *cuts)) == joined(frames)


def test_data_is_passed_on_before_it_is_whole() -> None:
    reader = FrameReader()
    assert list(reader.feed(struct.pack("!II", 1, 0x01FFFFFF))) == []
    assert list(reader.feed(b"abc")) == [Data(stream=1, data=b"abc", fin=False)]
    rest = b"x" * (0xFFFFFF - 3)
    assert list(reader.feed(rest)) == [Data(stream=1, data=rest, fin=True)]


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("8002000100000000", "not of SPDY/3"),
        ("80030001ffffffff", "more than 16384 bytes"),
        ("8003000300000004" + "00000001", "type 3: it has 4 bytes"),
        ("8003000600000000", "type 6"),
        ("8003000400000008" + "0000000200000004", "type 4"),
        ("8003000400000000", "type 4"),
        ("8003000100000000", "type 1"),
        ("8003000900000002" + "0000", "type 9"),
    ],
)
def test_what_is_no_frame(head: str, why: str) -> None:
    with pytest.raises(SpdyError, match=why):
        read(bytes.fromhex(head))


@given(st.binary(max_size=200))
def test_whatever_comes_is_frames_or_an_error(data: bytes) -> None:
    try:
        frames = read(data)
    except SpdyError:
        return
    assert sum(len(frame.data) for frame in frames if isinstance(frame, Data)) <= len(data)
