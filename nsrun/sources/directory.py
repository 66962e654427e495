"""A directory of manifests (or one file) as a source of desired pods.

Which files: regular ones whose names end in .yaml, .yml or .json and do not start with a dot; symbolic links are
followed, directories are not entered. What else is there is named in a warning, so that nobody waits for a pod that an
editor's backup describes.

When: at once at the start, at every change (inotify), and all of it again every ``check_seconds``. A file that is being
written is left alone until it is closed, or quiet for a second. A file that disappears is given a tenth of a second to
come back, since editors rename the old version away before they write the new one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from nsrun.model.decode import Manifest, parse_manifest
from nsrun.model.update import SourceUpdate
from nsrun.model.wording import printable
from nsrun.sources.desired import FileState, Owners, desired, next_state
from nsrun.sources.listing import Found, Listing, Signature, Unreadable, list_manifests, read_manifest
from nsrun.sources.watch import QUIET, Changes, Watch
from nsrun.support.clock import Clock

__all__ = ["DirectorySource"]

COME_BACK = 0.1
ATTEMPTS = 3
"""How often a look is repeated because of somebody who writes, before its result is taken as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A file and the version of it that was read. ``left_at``: when it was first seen to be gone."""

    state: FileState
    signature: Signature | None = None
    digest: bytes = b""
    left_at: float | None = None


class DirectorySource:
    """The pods that the manifests under ``path`` describe."""

    def __init__(self, path: Path, *, node_name: str, check_seconds: float = 20.0, clock: Clock) -> None:
        self.origin = printable(os.path.abspath(path))
        self._path = path
        self._node_name = node_name
        self._check_seconds = check_seconds
        self._clock = clock

    async def updates(self) -> AsyncIterator[SourceUpdate]:
        """The desired set now, then again at every change of it or of what there is to say about it."""
        absolute = os.path.abspath(self._path)
        watch = Watch(absolute, clock=self._clock)
        reader = _Reader(self._path, absolute, node_name=self._node_name, clock=self._clock, watch=watch)
        last: SourceUpdate | None = None
        relist_at = self._clock.monotonic()
        try:
            while True:
                full = self._clock.monotonic() >= relist_at
                if full:
                    watch.open()
                    relist_at = self._clock.monotonic() + self._check_seconds
                update = await self._look(watch, reader, full=full)
                if update != last:
                    last = update
                    yield update
                await watch.wait(max(0.0, min(relist_at, reader.look_again_at) - self._clock.monotonic()))
        finally:
            watch.close()

    async def _look(self, watch: Watch, reader: _Reader, *, full: bool) -> SourceUpdate:
        """What is wanted now. A file that somebody began to write while it was read counts as it was before."""
        changes = Changes()
        for _ in range(ATTEMPTS):
            changes |= watch.take()
            update = await asyncio.to_thread(reader.look, changes, watch.unsettled(), full=full or changes.lost)
            if not reader.took & watch.stirred():
                break
            reader.take_back()
        return update


class _Reader:
    """Looks at the files; runs in a thread, one call at a time.

    ``look_again_at``: when something will have to be decided that no event tells (monotonic seconds). ``took``: names
    of files of which the last look took another content.
    """

    def __init__(self, path: Path, absolute: str, *, node_name: str, clock: Clock, watch: Watch) -> None:
        self.look_again_at = float("inf")
        self._shown = str(path)
        self._absolute = absolute
        self._node_name = node_name
        self._clock = clock
        self._watch = watch
        self.took: set[str] = set()
        self._files: dict[str, _Read] = {}
        self._owners: Owners = {}
        # What the two were before the last look.
        self._before: tuple[dict[str, _Read], Owners] = ({}, {})

    def look(self, changes: Changes, unsettled: frozenset[str], *, full: bool) -> SourceUpdate:
        """Reads what may have changed (``full``: everything) and says what is wanted now."""
        self.look_again_at = self._clock.monotonic() + QUIET if unsettled else float("inf")
        self.took.clear()
        self._before = (dict(self._files), self._owners)
        self._watch.arm()
        unreadable: str | None = None
        missing = False
        warnings: list[str] = []
        try:
            listing = list_manifests(self._absolute)
            self._take(listing, changes.names, unsettled, full=full)
            warnings, missing = self._warnings(listing, unsettled), listing.missing
        except Unreadable as error:
            unreadable = f"{printable(self._shown)}: {error}"
        if self._watch.warning is not None:
            warnings.insert(0, f"{printable(self._shown)}: {self._watch.warning}")
        return replace(self._update(warnings, unreadable), missing=missing)

    def take_back(self) -> None:
        """Makes the last look undone."""
        self._files, self._owners = self._before

    def _update(self, warnings: list[str], unreadable: str | None) -> SourceUpdate:
        states = [self._files[name].state for name in sorted(self._files)]
        update, self._owners = desired(states, self._owners)
        if unreadable is not None:
            update = replace(
                update,
                problems=(unreadable, *update.problems),
                broken=update.broken | {printable(self._absolute)},
                retained=frozenset(pod.name for pod in update.pods),
            )
        return replace(update, warnings=(*warnings, *update.warnings))

    def _take(self, listing: Listing, touched: frozenset[str], unsettled: frozenset[str], *, full: bool) -> None:
        for found in listing.files:
            if found.name in unsettled and not found.linked:
                self._stays(found.name)
            else:
                self._refresh(found, sure=not full and found.name not in touched)
        for name in self._files.keys() - {found.name for found in listing.files}:
            self._leaves(name)

    def _stays(self, name: str) -> None:
        """A file that was leaving and is back, or is being written, counts as it was."""
        read = self._files.get(name)
        if read is not None and read.left_at is not None:
            self._files[name] = replace(read, state=replace(read.state, leaving=False), left_at=None)

    def _leaves(self, name: str) -> None:
        now = self._clock.monotonic()
        read = self._files[name]
        left_at = now if read.left_at is None else read.left_at
        if now - left_at >= COME_BACK:
            del self._files[name]
            return
        self._files[name] = replace(read, state=replace(read.state, leaving=True), left_at=left_at)
        self.look_again_at = min(self.look_again_at, left_at + COME_BACK)

    def _refresh(self, found: Found, *, sure: bool) -> None:
        """Reads a file; ``sure``: its signature can be trusted, as no event named it."""
        self._stays(found.name)
        before = self._files.get(found.name)
        if sure and before is not None and found.signature is not None and before.signature == found.signature:
            return
        state = before.state if before is not None else self._new_state(found)
        try:
            data = read_manifest(found.path)
        except Unreadable as error:
            if error.busy:
                self.look_again_at = min(self.look_again_at, self._clock.monotonic() + QUIET)
                return
            self.took.add(found.name)
            state = next_state(state, Manifest(problems=(f"{state.file}: {error}",)))
            self._files[found.name] = _Read(state=state)
            return
        digest = hashlib.blake2b(data).digest()
        if before is None or before.digest != digest:
            self.took.add(found.name)
            state = next_state(state, self._parse(data, state))
        self._files[found.name] = _Read(state=state, signature=found.signature, digest=digest)

    def _new_state(self, found: Found) -> FileState:
        shown = self._shown if found.path == self._absolute else os.path.join(self._shown, found.name)
        return FileState(file=printable(shown), origin=printable(found.path))

    def _parse(self, data: bytes, state: FileState) -> Manifest:
        return parse_manifest(
            data,
            file=state.file,
            node_name=self._node_name,
            origin=state.origin,
            json_only=state.origin.endswith(".json"),
        )

    def _warnings(self, listing: Listing, unsettled: frozenset[str]) -> list[str]:
        """What is skipped, or that nothing is there. What just appeared may be an editor's, and gone in a moment."""
        lines: list[str] = []
        now = self._clock.now()
        for path, reason, appeared in listing.skipped:
            name = os.path.basename(path)
            if name in unsettled or 0 <= now - appeared < QUIET:
                self.look_again_at = min(self.look_again_at, self._clock.monotonic() + QUIET)
            else:
                lines.append(f"{printable(os.path.join(self._shown, name))}: {reason}")
        if listing.missing and not self._files:
            lines.append(f"{printable(self._shown)}: is not there, so no pods are wanted")
        return lines
