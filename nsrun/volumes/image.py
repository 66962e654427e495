"""``image``: the content of an image, read-only. The runtime shows its layers together; here is only written down that
the pod has it, so that nobody removes it meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from nsrun.errors import VolumeError
from nsrun.model.image import Image
from nsrun.model.running import PreparedVolume
from nsrun.volumes.places import make_private

__all__ = ["PLUGIN", "prepare_image"]

PLUGIN = "kubernetes.io~image"


def prepare_image(name: str, image: Image | None, record: Path) -> PreparedVolume:
    """``record`` becomes a link that names the image's digest. Raises VolumeError (without the volume's name),
    OSError."""
    if image is None:
        raise VolumeError("its image is not there")
    if not image.layers:
        raise VolumeError(f'image "{image.reference}" has no layers')
    make_private(record.parent)
    unfinished = record.with_name(f".{record.name}.new")
    unfinished.unlink(missing_ok=True)
    os.symlink(image.digest, unfinished)
    os.rename(unfinished, record)
    return PreparedVolume(name=name, layers=image.layers, read_only=True)
