"""An image in the store, as far as those who run it need to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Image", "ImageConfig", "PullPolicy"]


class PullPolicy(StrEnum):
    """When an image is asked of its registry."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The ``config`` object of an OCI image configuration (image-spec config.md); untrusted content."""

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that is present, verified and unpacked.

    ``reference`` is normalised (``docker.io/library/nginx:latest``), ``digest`` that of its manifest, ``config_digest``
    that of its configuration (the image ID). ``layers``: directories of the unpacked layers, **topmost first**, as
    overlayfs wants them. ``passwd`` and ``group``: the content of the rootfs's /etc/passwd and /etc/group as a
    container would see them, read safely (links resolved inside the root, regular files only, at most 1 MiB), empty if
    there is none.
    """

    reference: str
    digest: str
    config_digest: str
    config: ImageConfig
    layers: tuple[str, ...]
    size: int
    passwd: bytes = b""
    group: bytes = b""
