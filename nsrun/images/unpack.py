"""Unpacks one layer: blob → verified directory. Blocking work, without asyncio: it runs in a thread, or in a process.

The blob is read once. Its uncompressed bytes are hashed as they come, to their very end, and only when the diff_id is
right does the caller take the directory over; until then nobody can see it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nsrun.errors import ImageError, describe_errno
from nsrun.images.decompress import CorruptBlob, decompressed, is_layer_type
from nsrun.images.digests import Hasher, new_hasher
from nsrun.images.layerdir import LayerDirectory
from nsrun.images.limits import Limits
from nsrun.images.tarstream import ByteStream, TarError, TarReader
from nsrun.images.wording import printable

__all__ = ["Cancelled", "Unpacked", "unpack_layer"]


class Cancelled(Exception):
    """The caller does not want the layer any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What came out. ``size``: of all files, in bytes."""

    entries: int
    size: int


def unpack_layer(
    blob: int,
    root: int,
    *,
    media_type: str,
    diff_id: str,
    limits: Limits,
    xattr_prefix: str,
    cancelled: Callable[[], bool] = lambda: False,
) -> Unpacked:
    """Unpacks the open blob into the open, empty, private directory ``root``, which may hold anything after a failure.

    ``xattr_prefix``: ``trusted.overlay.``, or ``user.overlay.`` for overlay mounts with userxattr. ``cancelled`` is
    asked at every chunk of data. Raises ImageError naming layer, entry and cause; Cancelled.
    """
    if not is_layer_type(media_type):
        raise _error(diff_id, f'its media type "{printable(media_type)}" is not one of a layer')
    hasher = new_hasher(diff_id)
    stream = ByteStream(_watched(decompressed(blob, limits=limits), hasher, cancelled))
    directory = LayerDirectory(root, limits=limits, xattr_prefix=xattr_prefix)
    try:
        entries = _fill(directory, TarReader(stream, limits=limits), diff_id)
        stream.drain()
        directory.finish()
    except (TarError, CorruptBlob) as error:
        raise _error(diff_id, str(error)) from None
    except OSError as error:
        raise _error(diff_id, describe_errno(error.errno or errno.EIO)) from error
    finally:
        directory.close()
    algorithm = diff_id.partition(":")[0]
    if (found := f"{algorithm}:{hasher.hexdigest()}") != diff_id:
        raise _error(diff_id, f"its content is {found}")
    return Unpacked(entries=entries, size=directory.size)


def _watched(chunks: Iterator[bytes], hasher: Hasher, cancelled: Callable[[], bool]) -> Iterator[bytes]:
    for chunk in chunks:
        if cancelled():
            raise Cancelled
        hasher.update(chunk)
        yield chunk


def _fill(directory: LayerDirectory, reader: TarReader, diff_id: str) -> int:
    number = 0
    for number, entry in enumerate(reader, 1):  # noqa: B007
        try:
            directory.add(entry, reader.data())
        except OSError as error:
            cause = describe_errno(error.errno or errno.EIO)
            hint = "free some space below --root" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
            raise _error(diff_id, cause, entry=entry.path, hint=hint) from error
        except ValueError as error:
            raise _error(diff_id, str(error), entry=entry.path) from None
    return number


def _error(diff_id: str, cause: str, *, entry: bytes | None = None, hint: str | None = None) -> ImageError:
    where = f'entry "{printable(entry.decode("utf-8", "backslashreplace"))}": ' if entry is not None else ""
    return ImageError(f"cannot unpack layer {printable(diff_id[:19])}: {where}{cause}", hint=hint)
