"""Measures what everything uses, for everybody who asks: one look at a time, and not more often than is useful.

Nothing is measured while nobody asks. Whoever asks again at once gets the same look, so that what measuring costs does
not grow with the number of those who ask, however many that are: at most a fifth of a processor goes into it. Disks are
slower: every file of every container is looked at, about once a minute, and never while somebody waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from nsrun.errors import NsrunError
from nsrun.model.figures import ContainerDisk, Figures, Filesystem, NetworkFigures
from nsrun.model.pod import Pod
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.ports import Images, Network, Runtime, Volumes
from nsrun.support.clock import Clock

__all__ = ["DiskFigures", "Look", "Measuring", "Since"]

logger = logging.getLogger(__name__)

SPACING = 1.0
"""Seconds between two looks, at least; and four times what the last one took."""

WINDOW = 0.5
"""Seconds over which a rate is taken when nobody has asked for a while."""

RECENT = 60.0
"""Seconds: a rate over a longer time tells little of now."""

DISK_EVERY = 60.0
"""Seconds between two looks at disks, at least; and ten times what the last one took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look. ``errors``: how many parts of it could not be had. ``brief``: of pods only processor time and memory.
    ``monotonic``: when it ended; ``took`` seconds."""

    figures: Figures
    network: NetworkFigures
    errors: int = 0
    brief: bool = False
    monotonic: float = 0.0
    took: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """A look, and the one before that its counters are compared with."""

    now: Look
    before: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFigures:
    """What was found on disks at ``time``, 0 for what is not known yet. ``root``: of what containers and volumes write;
    ``images``: of the image store. ``containers`` and ``volumes`` (bytes of emptyDirs) by UID and name."""

    time: float = 0.0
    root: Filesystem | None = None
    images: Filesystem | None = None
    containers: Mapping[str, Mapping[str, ContainerDisk]] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Measuring:
    """Belongs to one event loop. ``run`` looks at disks; everything else is done by whoever asks.

    Invariant: ``_before`` is None or ended at least WINDOW before ``_latest``."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        network: Network,
        images: Images,
        volumes: Volumes,
        board: StatusBoard,
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._network = network
        self._images = images
        self._volumes = volumes
        self._board = board
        self._clock = clock
        self._looking = asyncio.Lock()
        self._latest: Look | None = None
        self._before: Look | None = None
        self._disk = DiskFigures()
        self._disk_wanted = asyncio.Event()

    # --- now

    async def look(self, *, brief: bool = False) -> Look:
        """What is used now, or was a moment ago. ``brief``: processor time and memory are enough."""
        async with self._looking:
            latest = self._latest
            if latest is not None and (brief or not latest.brief):
                age = self._clock.monotonic() - latest.monotonic
                if age < max(SPACING, 4 * latest.took):
                    return latest
            return await self._look(brief=brief)

    async def since(self, *, brief: bool = False) -> Since:
        """The same, with an earlier look to compare it with. Waits for half a second when there is no recent one."""
        while True:
            now = await self.look(brief=brief)
            before = self._before
            if before is not None and now.monotonic - before.monotonic <= RECENT:
                return Since(now=now, before=before)
            await self._clock.sleep(WINDOW)
            async with self._looking:
                if self._latest is now:
                    await self._look(brief=brief)

    async def _look(self, *, brief: bool) -> Look:
        began = self._clock.monotonic()
        figures = await self._runtime.figures(brief=brief)
        network, errors = await self._network_figures(figures)
        ended = self._clock.monotonic()
        look = Look(figures=figures, network=network, errors=errors, brief=brief, monotonic=ended, took=ended - began)
        if self._latest is not None and ended - self._latest.monotonic >= WINDOW:
            self._before = self._latest
        self._latest = look
        return look

    async def _network_figures(self, figures: Figures) -> tuple[NetworkFigures, int]:
        try:
            return await self._network.figures(figures.pods), 0
        except NsrunError as error:
            logger.warning("%s", error)
            return NetworkFigures(time=self._clock.now(), monotonic=self._clock.monotonic()), 1

    # --- disks

    async def disk(self) -> DiskFigures:
        """What was last found on disks. Asking has it looked at again, if that is long ago; nobody waits for it."""
        self._disk_wanted.set()
        if self._disk.root is None:
            self._disk = DiskFigures(root=await self._filesystem())
        return self._disk

    async def run(self) -> None:
        """Looks at disks whenever somebody asked, until it is cancelled."""
        while True:
            await self._disk_wanted.wait()
            self._disk_wanted.clear()
            began = self._clock.monotonic()
            self._disk = await self._look_at_disks()
            took = self._clock.monotonic() - began
            await self._clock.sleep(max(DISK_EVERY, 10 * took))

    async def _look_at_disks(self) -> DiskFigures:
        containers, volumes = {}, {}
        for pod, _ in self._board.pods():
            containers[pod.uid], volumes[pod.uid] = await self._disk_of(pod)
        try:
            images = await self._images.filesystem()
        except NsrunError as error:
            logger.warning("%s", error)
            images = None
        return DiskFigures(
            time=self._clock.now(),
            root=await self._filesystem(),
            images=images,
            containers=containers,
            volumes=volumes,
        )

    async def _disk_of(self, pod: Pod) -> tuple[Mapping[str, ContainerDisk], Mapping[str, int]]:
        """Nothing of a pod that goes meanwhile."""
        try:
            return await self._runtime.disk(pod.uid), await self._volumes.usage(pod)
        except NsrunError as error:
            logger.info("Cannot see how much disk pod %s uses: %s", pod.name, error)
            return {}, {}

    async def _filesystem(self) -> Filesystem | None:
        try:
            return await self._runtime.filesystem()
        except NsrunError as error:
            logger.warning("%s", error)
            return None
