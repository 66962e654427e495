"""Header blocks: what comes from kubectl, and what comes from nobody of good will."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.api.streaming.spdy_headers import (
    DICTIONARY,
    MAX_BLOCK,
    MAX_HEADERS,
    HeaderError,
    HeaderReader,
    HeaderWriter,
    SpdyError,
)

# As kubectl 1.20 sends them: the blocks of four streams of one connection.
KUBECTLS = (
    ("78f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff", {"streamtype": "error"}),
    ("c22e555c92929907000000ffff", {"streamtype": "stdin"}),
    ("c22ac5565c92925f5a02000000ffff", {"streamtype": "stdout"}),
    ("c229975a5404000000ffff", {"streamtype": "stderr"}),
)


def raw(*pairs: tuple[bytes, bytes], count: int | None = None) -> bytes:
    texts = [struct.pack("!I", len(text)) + text for pair in pairs for text in pair]
    return struct.pack("!I", len(pairs) if count is None else count) + b"".join(texts)


def compressed(plain: bytes) -> bytes:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    return compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)


def test_the_dictionary_is_the_specifications() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_blocks_of_kubectl() -> None:
    reader = HeaderReader()
    for block, headers in KUBECTLS:
        assert reader.read(bytes.fromhex(block)) == headers


@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).map(str.lower),
            st.text(st.characters(max_codepoint=255), max_size=50),
            max_size=10,
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read(blocks: list[dict[str, str]]) -> None:
    reader, writer = HeaderReader(), HeaderWriter()
    for headers in blocks:
        assert reader.read(writer.write(headers)) == headers


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        (b"", "ends too early"),
        (raw((b"a", b"b"), count=2), "ends too early"),
        (raw((b"a", b"b"))[:-1], "ends too early"),
        (raw() + b"more", "something follows"),
        (struct.pack("!II", 1, 0xFFFFFFFF), "ends too early"),
        (struct.pack("!I", MAX_HEADERS + 1), "more than 64 headers"),
    ],
)
def test_blocks_that_end_the_connection(plain: bytes, why: str) -> None:
    with pytest.raises(SpdyError, match=why):
        HeaderReader().read(compressed(plain))


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([(b"Port", b"80")], "lower case"),
        ([(b"", b"80")], "lower case"),
        ([(b"port", b"80"), (b"port", b"81")], "twice"),
    ],
)
def test_blocks_that_end_only_their_stream(pairs: list[tuple[bytes, bytes]], why: str) -> None:
    compressor, reader = zlib.compressobj(zdict=DICTIONARY), HeaderReader()
    first = compressor.compress(raw(*pairs)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(HeaderError, match=why):
        reader.read(first)
    second = compressor.compress(raw((b"port", b"80"))) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert reader.read(second) == {"port": "80"}


def test_what_is_not_compressed_or_ended_is_refused() -> None:
    with pytest.raises(SpdyError, match="cannot decompress"):
        HeaderReader().read(b"no zlib")
    with pytest.raises(SpdyError, match="cannot decompress"):
        HeaderReader().read(zlib.compress(raw()).replace(b"\x78\x9c", b"\x78\xbb") + b"\0" * 8)
    ended = zlib.compressobj(zdict=DICTIONARY)
    with pytest.raises(SpdyError, match="was ended"):
        HeaderReader().read(ended.compress(raw()) + ended.flush())


def test_a_bomb_is_not_unpacked() -> None:
    """16 KiB of a control frame hold 16 MiB of zeros."""
    bomb = compressed(raw((b"a", b"\0" * (16 << 20))))
    assert len(bomb) < 32 << 10
    with pytest.raises(SpdyError, match=f"more than {MAX_BLOCK} bytes"):
        HeaderReader().read(bomb)


@given(st.binary(max_size=300))
def test_whatever_comes_is_an_answer_or_an_error(block: bytes) -> None:
    for data in (block, compressed(block)):
        try:
            headers = HeaderReader().read(data)
        except (SpdyError, HeaderError):
            continue
        assert all(name == name.lower() for name in headers)
