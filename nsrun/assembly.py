"""Parts that the daemon and single commands build alike."""

from __future__ import annotations

import json
import os
from pathlib import Path

from nsrun.images.credentials import auth_files, load_credentials
from nsrun.images.registries import load_registries
from nsrun.images.service import ImageService
from nsrun.support.layout import Layout

__all__ = ["image_service", "images_in_use"]


def image_service(layout: Layout, registries_conf: Path | None = None) -> ImageService:
    """The image store of ``layout`` with this machine's registries and credentials. Raises SettingsError."""
    environment = dict(os.environ)
    return ImageService(
        layout=layout,
        registries=load_registries(registries_conf, environment),
        credentials=load_credentials(auth_files(environment)),
        environment=environment,
        in_use=lambda: images_in_use(layout),
    )


def images_in_use(layout: Layout) -> frozenset[str]:
    """Manifest digests of the images that containers run from, as the run directory tells it, and of those that pods
    have as volumes: whoever removes images may be another process than the one that runs the containers."""
    found = set()
    for record in layout.pods.glob("*/volumes/kubernetes.io~image/*"):
        try:
            found.add(os.readlink(record))
        except OSError:
            continue  # its pod is gone meanwhile
    for state in layout.run_pods.glob("*/containers/*/*/state.json"):
        try:
            found.add(str(json.loads(state.read_bytes())["image_digest"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # half written or gone: nothing runs from it yet, or any more
    return frozenset(found)
