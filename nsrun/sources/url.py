"""A web address as a source of desired pods: asked again and again, and believed only when it says something sound.

The document is read as a file of the directory is: any number of documents, YAML or JSON, every problem with its line
and column, and the last good version of whatever is broken. A server that is silent, fails or lies is one more way for
a manifest to be broken: nothing it had is given up.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from nsrun.model.decode import Manifest, parse_manifest
from nsrun.model.document import parse_documents
from nsrun.model.tree import MapNode
from nsrun.model.update import SourceUpdate
from nsrun.model.wording import printable, shown_url
from nsrun.sources.desired import FileState, desired, next_state
from nsrun.sources.fetch import Document, Fetcher, Unfetched, Validators
from nsrun.support.clock import Clock

__all__ = ["UrlSource"]


class UrlSource:
    """The pods that the document at a URL describes."""

    def __init__(
        self,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        node_name: str,
        check_seconds: float = 20.0,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``headers`` go along with every request. ``tls``: whom to trust, None for the system's authorities."""
        self.origin = shown_url(url)
        self._fetcher = Fetcher(url, headers=headers, tls=tls)
        self._node_name = node_name
        self._check_seconds = check_seconds
        self._clock = clock

    async def updates(self) -> AsyncIterator[SourceUpdate]:
        """What the server said last, then every change of it or of what there is to say about it."""
        reading = _Reading(self.origin, self._node_name)
        last: SourceUpdate | None = None
        while True:
            try:
                document = await self._fetcher.fetch(reading.validators)
            except Unfetched as error:
                reading.failed(f"cannot fetch: {error}")
            else:
                await asyncio.to_thread(reading.fetched, document)
            update = reading.update()
            if update != last:
                last = update
                yield update
            await self._clock.sleep(self._check_seconds)


class _Reading:
    """What was heard so far. ``validators``: of the last whole answer, None without one."""

    def __init__(self, origin: str, node_name: str) -> None:
        self.validators: Validators | None = None
        self._node_name = node_name
        self._state = FileState(file=printable(origin), origin=origin)
        self._failure: str | None = None
        self._digest = b""
        self._was_sound = False

    def failed(self, why: str) -> None:
        """There was no answer, or none that counts."""
        self._failure = f"{self._state.file}: {why}"

    def fetched(self, document: Document | None) -> None:
        """An answer; None: what was answered before is still true."""
        self._failure = None
        if document is None:
            return
        self.validators = document.validators
        digest = hashlib.blake2b(document.data).digest()
        if digest != self._digest:
            self._digest = digest
            manifest = self._parse(document.data)
            self._state = next_state(self._state, manifest)
            self._was_sound = self._was_sound or not manifest.problems

    def _parse(self, data: bytes) -> Manifest:
        manifest = parse_manifest(
            data, file=self._state.file, node_name=self._node_name, origin=self._state.origin, config_source="http"
        )
        if not manifest.problems and not any(isinstance(one.root, MapNode) for one in parse_documents(data)):
            # Comments, or a bare ``null``: of a file somebody's wish, of a server more likely a fault.
            return Manifest(problems=(f"{self._state.file}: is empty",))
        return manifest

    def update(self) -> SourceUpdate:
        """What is wanted now."""
        state = self._state
        if self._failure is not None:
            problems = (self._failure, *state.problems)
            state = next_state(state, Manifest(problems=problems, warnings=state.warnings))
        update, _ = desired([state], {})
        return replace(update, partial=not self._was_sound)
