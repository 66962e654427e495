"""Which image somebody means: by a name, by the beginning of its ID, or by a digest."""

from __future__ import annotations

import re

from nsrun.errors import ImageError, NotFoundError
from nsrun.images.reference import Reference, parse_reference
from nsrun.images.shortnames import ShortNames
from nsrun.images.store import Store, StoredImage
from nsrun.images.wording import printable

__all__ = ["find_image", "new_name"]

_DOCKERS = ShortNames()
_ID = re.compile(r"(?:sha256:)?([a-f0-9]{4,64})", re.ASCII)


def find_image(store: Store, text: str, verb: str, names: ShortNames = _DOCKERS) -> StoredImage:
    """The image that is called ``text``, else the one whose ID (or manifest's digest) begins so.

    ``verb`` says in errors what is to be done with it, ``names`` what short names mean. Blocks. Raises NotFoundError;
    ImageError when there are several, or when it can be neither a name nor an ID.
    """
    try:
        meanings = names.meanings(text)
    except ImageError:
        if not _ID.fullmatch(text):
            raise
        meanings = ()
    for meant in meanings:
        if (found := store.find(meant)) is not None:
            return found
    by_id = _by_id(store, text)
    if not by_id:
        raise NotFoundError(f'cannot {verb} image "{printable(text)}": there is no such image')
    if len(by_id) > 1:
        raise ImageError(
            f'cannot {verb} image "{text}": the IDs of {len(by_id)} begin so', hint="give more of it, or a name"
        )
    return next(iter(by_id.values()))


def new_name(text: str) -> Reference:
    """A name that an image can be given: with a tag, without a digest. Raises ImageError (InvalidImageName)."""
    reference = parse_reference(text)
    if reference.digest:
        raise ImageError(
            f'cannot use image name "{printable(text)}": a digest says what an image is, and cannot be given to it',
            reason="InvalidImageName",
        )
    return reference


def _by_id(store: Store, text: str) -> dict[str, StoredImage]:
    """The images whose ID begins so, one for each ID: the first of its names."""
    match = _ID.fullmatch(text)
    found: dict[str, StoredImage] = {}
    for image in store.images() if match is not None else ():
        try:
            manifest, _ = store.documents(image.manifest)
        except (FileNotFoundError, ImageError):
            continue  # nsrun store check tells
        ids = (manifest.config.digest, image.digest)
        if match is not None and any(digest.partition(":")[2].startswith(match[1]) for digest in ids):
            found.setdefault(manifest.config.digest, image)
    return found
