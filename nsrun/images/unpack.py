"""Unpacks one layer: blob → verified directory. Blocking work, without asyncio: it runs in a thread, or in a process.

The blob is read once, while it comes. Its uncompressed bytes are hashed as they come, to their very end, and only when
the diff_id is right does the caller take the directory over; until then nobody can see it.
"""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path

from nsrun.errors import ImageError, describe_errno
from nsrun.host.userns import UserNamespace
from nsrun.images.decompress import Bomb, CorruptBlob, Readable, decompressed, is_layer_type
from nsrun.images.digests import new_hasher
from nsrun.images.limits import Limits
from nsrun.images.unpacker import PROGRAM, MalformedArchive, Unpacked, Unpacker, UnpackError
from nsrun.images.wording import printable

__all__ = ["MalformedLayer", "Unpacked", "unpack_layer"]


class MalformedLayer(ImageError):
    """What came is no layer, or another one. Of bytes whose digest is not known yet it may be no more than damage."""


def unpack_layer(
    blob: Readable,
    root: int,
    *,
    media_type: str,
    diff_id: str,
    limits: Limits,
    xattr_prefix: str,
    users: UserNamespace | None = None,
    program: Path = PROGRAM,
) -> Unpacked:
    """Unpacks the blob into the open, empty, private directory ``root``, which may hold anything after a failure.

    ``xattr_prefix``: ``trusted.overlay.``, or ``user.overlay.`` for overlay mounts with userxattr. ``users``: as for
    Unpacker. Raises ImageError and MalformedLayer, naming layer, entry and cause, and what ``blob.read`` raises but for
    OSError.
    """
    if not is_layer_type(media_type):
        raise _error(diff_id, f'its media type "{printable(media_type)}" is not one of a layer')
    hasher = new_hasher(diff_id)
    try:
        with closing(
            Unpacker(root, limits=limits, xattr_prefix=xattr_prefix, users=users, program=program)
        ) as unpacker:
            for chunk in decompressed(blob, limits=limits):
                hasher.update(chunk)
                unpacker.write(chunk)
            done = unpacker.finish()
    except MalformedArchive as error:
        raise _error(diff_id, str(error), kind=MalformedLayer) from None
    except UnpackError as error:
        raise _error(diff_id, str(error), hint=error.hint) from None
    except Bomb as error:
        raise _error(diff_id, str(error)) from None
    except CorruptBlob as error:
        raise _error(diff_id, str(error), kind=MalformedLayer) from None
    except OSError as error:
        raise _error(diff_id, describe_errno(error.errno or errno.EIO)) from error
    algorithm = diff_id.partition(":")[0]
    if (found := f"{algorithm}:{hasher.hexdigest()}") != diff_id:
        raise _error(diff_id, f"its content is {found}", kind=MalformedLayer)
    return done


def _error(diff_id: str, cause: str, *, hint: str | None = None, kind: type[ImageError] = ImageError) -> ImageError:
    return kind(f"cannot unpack layer {printable(diff_id[:19])}: {cause}", hint=hint)
