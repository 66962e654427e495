"""Reads an HTTP/1 answer as it arrives, no more of it than counts, whatever it is. Pure."""

from __future__ import annotations

import re
from enum import Enum, auto

from nsrun.probes.wording import ProbeFailure, quoted

__all__ = ["BodyFailure", "ResponseReader"]

HEAD_LIMIT = 65536
"""Bytes of all status lines and headers of one answer. Go's own limit is 10 MiB; hundreds of pods are asked at once."""

BODY_LIMIT = 10240
"""Bytes of a body that are looked at (pkg/probe/http)."""

LINE_LIMIT = 4096
"""Bytes of a line between chunks (net/http/internal, maxLineLength)."""

MOST_INFORMATIONAL = 5

_BROKEN = "net/http: HTTP/1.x transport connection broken"
_END = re.compile(rb"\r?\n\r?\n")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,16}")


class BodyFailure(Exception):
    """The head was fine, the body cannot be read: the kubelet says nothing about the pod then."""


class _Body(Enum):
    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_END = auto()


class ResponseReader:
    """``feed`` it what arrives, until it is ``done``. ``status`` 0: not known yet."""

    def __init__(self) -> None:
        self.status = 0
        self.location: bytes | None = None
        self.done = False
        self._buffer = bytearray()
        self._head_size = 0
        self._informational = 0
        self._searched = 0
        self._body = bytearray()
        self._kind = _Body.NONE
        self._left = 0  # bytes of the body, or of this chunk with the line end behind it

    @property
    def body(self) -> bytes:
        """The first ``BODY_LIMIT`` bytes of it."""
        return bytes(self._body[:BODY_LIMIT])

    def feed(self, data: bytes) -> None:
        """Raises ProbeFailure while the head is read, BodyFailure after that."""
        self._buffer += data
        while not self.done and self.status == 0:
            if not self._read_head():
                return
        if not self.done:
            self._read_body()

    def end(self) -> None:
        """The server says nothing more. Raises as ``feed`` does when something is missing."""
        if self.done:
            return
        if self.status == 0:
            raise ProbeFailure("unexpected EOF" if self._buffer or self._head_size else "EOF")
        if self._kind is not _Body.UNTIL_END:
            raise BodyFailure("unexpected EOF")
        self.done = True

    # --- head

    def _read_head(self) -> bool:
        """Takes one head off the buffer, if all of it is there."""
        found = _END.search(self._buffer, max(self._searched - 3, 0))
        size = found.end() if found is not None else len(self._buffer)
        if self._head_size + size > HEAD_LIMIT:
            raise ProbeFailure(f"{_BROKEN}: net/http: server response headers exceeded {HEAD_LIMIT} bytes; aborted")
        self._searched = len(self._buffer)
        if found is None:
            return False
        head = bytes(self._buffer[: found.start()])
        del self._buffer[:size]
        self._head_size, self._searched = self._head_size + size, 0
        self._understand(head)
        return True

    def _understand(self, head: bytes) -> None:
        lines = head.replace(b"\r\n", b"\n").split(b"\n")
        status, headers = _status(lines[0]), _headers(lines[1:])
        if 100 <= status < 200 and status != 101:
            self._informational += 1
            if self._informational > MOST_INFORMATIONAL:
                raise ProbeFailure("net/http: too many 1xx informational responses")
            return
        self.status, self.location = status, headers.get(b"location")
        self._kind, self._left = _framing(status, headers)
        self.done = self._kind is _Body.NONE or (self._kind is _Body.LENGTH and self._left == 0)

    # --- body

    def _read_body(self) -> None:
        match self._kind:
            case _Body.CHUNKED:
                self._read_chunks()
            case _Body.LENGTH:
                self._left -= self._take(self._left)
                self.done = self.done or self._left == 0
            case _:
                self._take(len(self._buffer))

    def _take(self, most: int) -> int:
        """Moves up to so many bytes from the buffer to the body; when the body has enough of them, that is all."""
        taken = self._buffer[:most]
        self._body += taken
        del self._buffer[: len(taken)]
        if len(self._body) > BODY_LIMIT:
            del self._body[BODY_LIMIT:]
            self.done = True
        return len(taken)

    def _read_chunks(self) -> None:
        while self._buffer and not self.done:
            if self._left > 2:
                self._left -= self._take(self._left - 2)
            elif self._left > 0:
                if not self._skip_line_end():
                    return
            elif not self._read_size():
                return

    def _skip_line_end(self) -> bool:
        if len(self._buffer) < self._left:
            return False
        if bytes(self._buffer[: self._left]) != b"\r\n":
            raise BodyFailure("malformed chunked encoding")
        del self._buffer[: self._left]
        self._left = 0
        return True

    def _read_size(self) -> bool:
        line, newline, _ = self._buffer.partition(b"\n")
        if len(line) >= LINE_LIMIT:
            raise BodyFailure("header line too long")
        if not newline:
            return False
        size = _HEX.fullmatch(line.partition(b";")[0].strip(b" \t\r"))
        if size is None:
            raise BodyFailure("invalid byte in chunk length")
        del self._buffer[: len(line) + 1]
        length = int(size[0], 16)
        self.done = length == 0
        self._left = length + 2
        return True


def _status(line: bytes) -> int:
    version, space, rest = line.partition(b" ")
    if not space:
        raise ProbeFailure(f"{_BROKEN}: malformed HTTP response {quoted(line)}")
    code = rest.lstrip(b" ").partition(b" ")[0]
    if len(code) != 3 or not code.isdigit():
        raise ProbeFailure(f"{_BROKEN}: malformed HTTP status code {quoted(code)}")
    if not re.fullmatch(rb"HTTP/\d\.\d", version):
        raise ProbeFailure(f"{_BROKEN}: malformed HTTP version {quoted(version)}")
    return int(code)


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """By lower-case name, the first of each; a line that begins with a blank continues the one before."""
    headers: dict[bytes, bytes] = {}
    name = b""
    for line in lines:
        if line[:1] in (b" ", b"\t") and name:
            headers[name] += b" " + line.strip(b" \t")
            continue
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise ProbeFailure(f"{_BROKEN}: malformed MIME header line: {quoted(line)}")
        headers.setdefault(name, value.strip(b" \t"))
    return headers


def _framing(status: int, headers: dict[bytes, bytes]) -> tuple[_Body, int]:
    """Where the body ends, and how long it is where that is said."""
    if status in (101, 204, 304):
        return _Body.NONE, 0
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return _Body.CHUNKED, 0
    length = headers.get(b"content-length")
    if length is None:
        return _Body.UNTIL_END, 0
    if not re.fullmatch(rb"\d{1,18}", length):
        raise ProbeFailure(f"{_BROKEN}: bad Content-Length {quoted(length)}")
    return _Body.LENGTH, int(length)
