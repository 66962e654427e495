"""How long images that nothing runs from stay (pkg/kubelet/images/image_gc_manager.go)."""

from __future__ import annotations

from dataclasses import dataclass

from nsrun.errors import SettingsError

__all__ = ["ImageRetention", "Reclaimed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRetention:
    """``high_percent``: images go once so much of their disk is used, 100: never for that reason; ``low_percent``:
    until so much is. ``minimum_age``: seconds from when an image is first seen until it can go. ``maximum_age``:
    seconds without use after which it goes in any case, 0: never. Raises SettingsError for what cannot be meant."""

    high_percent: int = 85
    low_percent: int = 80
    minimum_age: float = 120.0
    maximum_age: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.low_percent <= self.high_percent <= 100:
            raise SettingsError(
                f"cannot use the thresholds of {self.high_percent} and {self.low_percent} percent for images: "
                "they are from 0 to 100, and the lower one is not above the other"
            )
        if self.minimum_age < 0 or self.maximum_age < 0:
            raise SettingsError("cannot use a negative age of images")
        if 0 < self.maximum_age < self.minimum_age:
            raise SettingsError("cannot use a maximum age of images that is below their minimum age")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimed:
    """What became of it. ``images``: the names that are gone. ``freed``: bytes. ``missing``: bytes that should have
    become free as well, and nothing was left that may go."""

    images: tuple[str, ...] = ()
    freed: int = 0
    missing: int = 0
