"""SPDY/3's header blocks: names and values, compressed with zlib and a dictionary that both sides know.

The blocks of one direction of a connection are one zlib stream: whoever misses one understands no later one. So every
block is decompressed, also those of streams that nobody wants; and one that cannot be is the connection's end.
SPDY Protocol, Draft 3.1, §2.6.10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

from nsrun.errors import NsrunError

__all__ = ["DICTIONARY", "HeaderError", "HeaderReader", "HeaderWriter", "SpdyError"]

MAX_BLOCK = 16 << 10  # bytes of all names and values of a block; what Kubernetes sends has less than a hundred
MAX_HEADERS = 64

_WORDS = (
    "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,age,allow,"
    "authorization,cache-control,connection,content-base,content-encoding,content-language,content-length,"
    "content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,"
    "if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,"
    "proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,"
    "user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,"
    "keep-alive,origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)

_LENGTH = struct.Struct("!I")

DICTIONARY = b"".join(_LENGTH.pack(len(word)) + word.encode() for word in _WORDS.split(",")) + _TAIL.encode()
"""1423 bytes: words, each behind its length, as blocks have them, and then text."""


class SpdyError(NsrunError):
    """The other side broke the protocol, and nothing more can be understood of the connection."""


class HeaderError(NsrunError):
    """A block that was understood says what no block may say: its stream is refused, the connection lives on."""


class HeaderReader:
    """The blocks that come, in their order."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def read(self, block: bytes) -> Mapping[str, str]:
        """Names in lower case; several values of one name have NULs between them. Raises SpdyError, HeaderError."""
        try:
            plain = self._zlib.decompress(block, MAX_BLOCK + 1)
        except zlib.error as error:
            raise SpdyError(f"cannot decompress a header block: {error}") from error
        if len(plain) > MAX_BLOCK or self._zlib.unconsumed_tail:
            raise SpdyError(f"cannot take a header block: it holds more than {MAX_BLOCK} bytes")
        if self._zlib.eof:
            raise SpdyError("cannot go on: the stream of header blocks was ended")
        return _checked(_pairs(plain))


class HeaderWriter:
    """The blocks that go."""

    def __init__(self) -> None:
        # What is sent from here is all but empty: the smallest window that holds the dictionary, and little memory.
        self._zlib = zlib.compressobj(level=1, wbits=11, memLevel=1, zdict=DICTIONARY)

    def write(self, headers: Mapping[str, str]) -> bytes:
        """The next block."""
        fields = [_LENGTH.pack(len(headers))]
        for pair in headers.items():
            for text in pair:
                raw = text.encode("latin-1")
                fields += (_LENGTH.pack(len(raw)), raw)
        return self._zlib.compress(b"".join(fields)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


def _pairs(plain: bytes) -> Iterator[tuple[str, str]]:
    """Raises SpdyError."""
    at = 0

    def number() -> int:
        nonlocal at
        if at + _LENGTH.size > len(plain):
            raise SpdyError("cannot take a header block: it ends too early")
        (value,) = _LENGTH.unpack_from(plain, at)
        at += _LENGTH.size
        return int(value)

    def text() -> str:
        nonlocal at
        length = number()
        if at + length > len(plain):
            raise SpdyError("cannot take a header block: it ends too early")
        at += length
        return plain[at - length : at].decode("latin-1")

    count = number()
    if count > MAX_HEADERS:
        raise SpdyError(f"cannot take a header block: it has more than {MAX_HEADERS} headers")
    for _ in range(count):
        yield text(), text()
    if at != len(plain):
        raise SpdyError("cannot take a header block: something follows its last header")


def _checked(pairs: Iterator[tuple[str, str]]) -> Mapping[str, str]:
    """Raises HeaderError, once the whole block is understood, and SpdyError."""
    headers: dict[str, str] = {}
    wrong = ""
    for name, value in pairs:
        if not name or name != name.lower():
            wrong = wrong or f'cannot take the header "{name}": names are in lower case'
        if name in headers:
            wrong = wrong or f'cannot take the header "{name}": it is there twice'
        headers[name] = value
    if wrong:
        raise HeaderError(wrong)
    return headers
