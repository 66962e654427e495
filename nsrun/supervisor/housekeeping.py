"""Keeps the image store from filling the disk (pkg/kubelet/images, kubelet.go StartGarbageCollection)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from nsrun.errors import NsrunError
from nsrun.model.retention import ImageRetention
from nsrun.supervisor.events import Notice
from nsrun.supervisor.ports import Images
from nsrun.support.clock import Clock

__all__ = ["Housekeeping", "HousekeepingSettings"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HousekeepingSettings:
    """``period``: seconds from one look at the images to the next."""

    images: ImageRetention = field(default_factory=ImageRetention)
    period: float = 300.0


class Housekeeping:
    """``used``: digests of images that pods have chosen, also of containers that were not started yet. ``say`` hears
    what concerns the node."""

    def __init__(
        self,
        *,
        images: Images,
        clock: Clock,
        used: Callable[[], Collection[str]],
        say: Callable[[Notice], None],
        settings: HousekeepingSettings | None = None,
    ) -> None:
        self._images = images
        self._clock = clock
        self._used = used
        self._say = say
        self._settings = settings if settings is not None else HousekeepingSettings()
        self._complained = False  # about the state that lasts

    async def run(self) -> None:
        """Looks at once, which tells which images are new, and then every period, until it is cancelled."""
        while True:
            try:
                await self._tidy()
            except NsrunError as error:
                self._complain("ImageGCFailed", str(error))
            await self._clock.sleep(self._settings.period)

    async def _tidy(self) -> None:
        done = await self._images.reclaim(self._settings.images, self._used())
        if done.images:
            logger.info("%d bytes are free again: unused images are gone: %s", done.freed, ", ".join(done.images))
        if not done.missing:
            self._complained = False
            return
        wanted = done.freed + done.missing
        self._complain(
            "FreeDiskSpaceFailed",
            "Failed to garbage collect required amount of images. "
            f"Attempted to free {wanted} bytes, but only found {done.freed} bytes eligible to free.",
        )

    def _complain(self, reason: str, message: str) -> None:
        if not self._complained:
            self._complained = True
            self._say(Notice(reason=reason, message=message, warning=True))
