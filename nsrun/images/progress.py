"""How far a pull or a push is, as plain data for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Progress", "Report", "Stage", "silent"]


class Stage(StrEnum):
    """What happens to an image or to one of its layers."""

    RESOLVING = "resolving"
    DOWNLOADING = "downloading"
    UNPACKING = "unpacking"
    UPLOADING = "uploading"
    MOUNTED = "mounted from another repository"
    PRESENT = "already there"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step. ``layer``: the blob's digest, empty when it is about the image. ``done`` of ``total`` bytes."""

    reference: str
    stage: Stage
    layer: str = ""
    done: int = 0
    total: int = 0


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """A report for nobody."""
