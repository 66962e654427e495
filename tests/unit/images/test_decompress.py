"""Layers' blobs, uncompressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.images.decompress import CHUNK, READ, CorruptBlob, decompressed, is_layer_type
from nsrun.images.limits import DEFAULT_LIMITS, Limits
from tests.waiting import fewer


def read(blob: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    return b"".join(decompressed(BytesIO(blob), limits=limits))


SKIPPABLE = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"skip!"
PIECES = st.lists(st.binary(max_size=5000), min_size=1, max_size=4)


@settings(deadline=None, max_examples=fewer(50))
@given(PIECES)
def test_members_and_frames_follow_one_another(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    for module in (gzip, lzma, bz2):
        assert read(b"".join(module.compress(piece) for piece in pieces)) == content
    assert read(b"".join(zstandard.compress(piece) + SKIPPABLE for piece in pieces)) == content
    assert read(SKIPPABLE + zstandard.compress(content)) == content


def test_large_streams_come_in_chunks() -> None:
    content = os.urandom(1 << 20) * 5
    blobs = (gzip.compress(content, 1), zstandard.compress(content), lzma.compress(content), bz2.compress(content))
    for blob in (content, *blobs):
        chunks = list(decompressed(BytesIO(blob), limits=DEFAULT_LIMITS))
        assert b"".join(chunks) == content
        assert max(map(len, chunks)) <= CHUNK


def test_members_that_end_where_a_read_ends() -> None:
    """The next member's magic is then in the next read, or cut in two by it."""
    lengths = set()
    for size in range(READ - 45, READ - 15):
        member = gzip.compress(os.urandom(size), 0)
        lengths.add(len(member))
        assert len(read(member + gzip.compress(b"tail"))) == size + 4
    assert {READ - 1, READ, READ + 1} <= lengths


def test_very_many_members() -> None:
    """What follows a member is copied for each: it must not be much."""
    assert read(gzip.compress(b"") * 20000 + gzip.compress(b"x")) == b"x"


@pytest.mark.parametrize("options", [["-1"], ["-19"], ["--long=27"], ["--format=gzip"], ["--no-check"]])
def test_reads_what_the_zstd_program_writes(tmp_path: Path, tool: Callable[[str], str], options: list[str]) -> None:
    (tmp_path / "content").write_bytes(content := os.urandom(1000) * 1000)
    done = subprocess.run(
        [tool("zstd"), "-q", "-c", *options, str(tmp_path / "content")], check=True, capture_output=True
    )
    assert read(done.stdout) == content


def test_what_is_neither_is_plain() -> None:
    for content in (b"", b"x", zlib.compress(b"x"), b"\x28\xb5", b"BZ", b"\xfd7zXZ"):
        assert read(content) == content


@pytest.mark.parametrize("module", [gzip, lzma, bz2])
def test_streams_that_are_cut_damaged_or_followed(module: ModuleType) -> None:
    whole = module.compress(os.urandom(5000))
    for blob, said in (
        (whole[:-5], "stream is cut off"),
        (whole[:1000] + b"????" + whole[1004:], "stream is damaged"),
        (whole + b"rest", "something follows the end"),
    ):
        with pytest.raises(CorruptBlob, match=said):
            read(blob)


def test_xz_that_wants_too_much_memory() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}]
    with pytest.raises(CorruptBlob, match="its xz stream is damaged: memory usage limit"):
        read(lzma.compress(b"x", filters=filters))


def test_ratio_is_looked_at_late() -> None:
    content = bytes(10 << 20)
    assert len(read(gzip.compress(content))) == len(content)
    with pytest.raises(CorruptBlob, match="like a decompression bomb"):
        read(gzip.compress(content), Limits(ratio_from=1 << 20, ratio=100))


def test_media_types() -> None:
    assert is_layer_type("application/vnd.oci.image.layer.v1.tar+zstd")
    assert is_layer_type("application/vnd.docker.image.rootfs.diff.tar.gzip")
    assert not is_layer_type("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
    assert not is_layer_type("application/vnd.oci.image.config.v1+json")
