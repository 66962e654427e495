"""From a reference to a stored, unpacked image.

    endpoints ─▶ manifest (or index ─▶ manifest for this platform) ─▶ configuration ─▶ layers, several at once ─▶ name
                                                                                        └ blob verified ─▶ unpacked

What is here already is not fetched again. The name comes last, so an image that has one is whole. One pull per
reference and one download per layer, however many ask.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nsrun.errors import ImageError, describe_errno
from nsrun.images.blobs import BlobWriter
from nsrun.images.documents import (
    DOCUMENT_LIMIT,
    Descriptor,
    ImageConfiguration,
    ImageIndex,
    ImageManifest,
    accept_configuration,
    accept_manifest,
)
from nsrun.images.layers import Layers
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.offloop import off_loop
from nsrun.images.platform import Platform, best_match
from nsrun.images.progress import Progress, Report, Stage
from nsrun.images.reference import Reference
from nsrun.images.registries import Endpoint, Registries
from nsrun.images.singleflight import SingleFlight
from nsrun.images.store import Intake, Store, StoredImage

if TYPE_CHECKING:
    from nsrun.images.registry import RegistryClient  # aiohttp is loaded by whoever makes one

__all__ = ["Puller", "choose_platform"]

T = TypeVar("T")

_PARALLEL_DOWNLOADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pull:
    """What every step of one pull needs. ``places``: so many layers are downloaded at once."""

    reference: Reference
    endpoints: Sequence[Endpoint]
    intake: Intake
    report: Report
    places: asyncio.Semaphore

    def tell(self, stage: Stage, layer: Descriptor, done: int = 0) -> None:
        self.report(
            Progress(reference=str(self.reference), stage=stage, layer=layer.digest, done=done, total=layer.size)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The manifest for this platform, and the digest of what the reference named."""

    source: str
    data: bytes
    descriptor: Descriptor
    manifest: ImageManifest


class Puller:
    """Pulls. ``client`` makes the registry client when it is first needed."""

    def __init__(
        self,
        *,
        store: Store,
        layers: Layers,
        registries: Registries,
        client: Callable[[], RegistryClient],
        platform: Platform,
    ) -> None:
        self._store = store
        self._layers = layers
        self._registries = registries
        self._client = client
        self._platform = platform
        self._pulls: SingleFlight[StoredImage] = SingleFlight()
        self._blobs: SingleFlight[None] = SingleFlight()

    async def pull(self, reference: Reference, report: Report) -> StoredImage:
        """Fetches what is missing and gives it its name. Raises ImageError (ErrImagePull)."""
        return await self._pulls.run(str(reference), lambda: self._pull(reference, report))

    async def digest(self, reference: Reference) -> str | None:
        """What the reference names at its registry now, None when the registry does not say. Raises ImageError."""
        endpoints = self._registries.endpoints(reference)
        with _about(reference):
            return await _first(endpoints, lambda e: self._client().digest(e, reference.identifier))

    async def unpack(self, manifest: ImageManifest, configuration: ImageConfiguration) -> tuple[Path, ...]:
        """The directories of an image's layers, bottom first, unpacked from their blobs where they are not there.

        Raises ImageError.
        """
        pairs = zip(manifest.layers, configuration.diff_ids, strict=True)
        return tuple(await _all(self._unpack(layer, diff_id) for layer, diff_id in pairs))

    async def _pull(self, reference: Reference, report: Report) -> StoredImage:
        endpoints = self._registries.endpoints(reference)
        report(Progress(reference=str(reference), stage=Stage.RESOLVING))
        with _about(reference), await off_loop(self._store.intake) as intake:
            places = asyncio.Semaphore(_PARALLEL_DOWNLOADS)
            pull = _Pull(reference=reference, endpoints=endpoints, intake=intake, report=report, places=places)
            found = await _first(endpoints, lambda endpoint: self._resolve(endpoint, reference.identifier))
            configuration = await self._configuration(pull, found.manifest)
            pairs = zip(found.manifest.layers, configuration.diff_ids, strict=True)
            await _all(self._layer(pull, layer, diff_id) for layer, diff_id in pairs)
            kept = await off_loop(lambda: intake.keep(reference, found.data, found.manifest, found.descriptor))
            image = replace(kept, source=found.source)
            await off_loop(lambda: self._store.tag(image))
        report(Progress(reference=str(reference), stage=Stage.READY))
        return image

    async def _resolve(self, endpoint: Endpoint, identifier: str) -> _Found:
        """The manifest that suits this machine. Raises ImageError."""
        client = self._client()
        named = await client.manifest(endpoint, identifier)
        with _said_by(endpoint):
            document = await off_loop(lambda: accept_manifest(named.data, named.media_type))
            if isinstance(document, ImageManifest):
                own = Descriptor(media_type=document.media_type, digest=named.digest, size=len(named.data))
                return _Found(source=named.digest, data=named.data, descriptor=own, manifest=document)
            chosen = choose_platform(document, self._platform)
        fetched = await client.manifest(endpoint, chosen.digest)
        with _said_by(endpoint):
            manifest = await off_loop(lambda: accept_manifest(fetched.data, fetched.media_type))
            if not isinstance(manifest, ImageManifest) or manifest.media_type != chosen.media_type:
                raise ImageError(f"its index announces {chosen.media_type}, but sent was {manifest.media_type}")
            if len(fetched.data) != chosen.size:
                raise ImageError(f"its index announces {chosen.size} bytes, but sent were {len(fetched.data)}")
        return _Found(source=named.digest, data=fetched.data, descriptor=chosen, manifest=manifest)

    async def _configuration(self, pull: _Pull, manifest: ImageManifest) -> ImageConfiguration:
        descriptor = manifest.config
        if descriptor.size > DOCUMENT_LIMIT:
            raise ImageError(f"its configuration is larger than {DOCUMENT_LIMIT >> 20} MiB")
        await self._blob(pull, descriptor)
        data = await off_loop(lambda: self._store.blobs.read(descriptor.digest, limit=DOCUMENT_LIMIT))
        return await off_loop(lambda: accept_configuration(data, manifest))

    async def _layer(self, pull: _Pull, layer: Descriptor, diff_id: str) -> None:
        if layer.size > DEFAULT_LIMITS.size:
            raise ImageError(f"its layer {layer.digest} is larger than {DEFAULT_LIMITS.size >> 30} GiB")
        await self._blob(pull, layer)
        pull.tell(Stage.UNPACKING, layer)
        await self._unpack(layer, diff_id)
        pull.tell(Stage.READY, layer, done=layer.size)

    async def _unpack(self, layer: Descriptor, diff_id: str) -> Path:
        blob = self._store.blobs.path(layer.digest)
        return await self._layers.ensure(blob=blob, media_type=layer.media_type, diff_id=diff_id)

    async def _blob(self, pull: _Pull, descriptor: Descriptor) -> None:
        """Makes sure that the blob is in the store."""
        # Pulls from one registry share a download; those from another must not have to wait for it, nor fail with it.
        key = f"{descriptor.digest} {pull.endpoints[-1].host}"
        await self._blobs.run(key, lambda: self._fetch(pull, descriptor))

    async def _fetch(self, pull: _Pull, descriptor: Descriptor) -> None:
        if await off_loop(lambda: self._store.blobs.has(descriptor.digest, descriptor.size)):
            return
        async with pull.places:
            await _first(pull.endpoints, lambda endpoint: self._download(pull, endpoint, descriptor))

    async def _download(self, pull: _Pull, endpoint: Endpoint, descriptor: Descriptor) -> None:
        client = self._client()
        writer = await off_loop(lambda: pull.intake.writer(descriptor.digest))
        try:
            sink = _Sink(writer, pull, descriptor)
            pieced = await client.blob(endpoint, descriptor, sink)
            if pieced and writer.digest() != descriptor.digest:
                # The pieces do not fit together, which a cache or a load balancer may have brought about: once more,
                # whole.
                await sink.restart()
                await client.blob(endpoint, descriptor, sink)
            if writer.digest() != descriptor.digest:
                raise ImageError(f'registry "{endpoint.host}" sent {writer.digest()} instead of {descriptor.digest}')
            await off_loop(writer.commit)
        finally:
            await off_loop(writer.close)


class _Sink:
    """Writes what a registry sends into a blob, off the event loop, and tells how far it is."""

    def __init__(self, writer: BlobWriter, pull: _Pull, descriptor: Descriptor) -> None:
        self._writer = writer
        self._pull = pull
        self._descriptor = descriptor

    @property
    def offset(self) -> int:
        return self._writer.offset

    async def write(self, chunk: bytes) -> None:
        with _disk():
            await off_loop(lambda: self._writer.write(chunk))
        self._pull.tell(Stage.DOWNLOADING, self._descriptor, done=self.offset)

    async def restart(self) -> None:
        with _disk():
            await off_loop(self._writer.restart)


def choose_platform(index: ImageIndex, platform: Platform) -> Descriptor:
    """The manifest of an index that is meant for this machine. Raises ImageError."""
    position = best_match((manifest.platform for manifest in index.manifests), platform)
    if position is None:
        offered = ", ".join(sorted({str(m.platform) for m in index.manifests if m.platform is not None}))
        raise ImageError(f"there is nothing for {platform} in it, only for {offered or 'unknown platforms'}")
    return index.manifests[position]


async def _first(endpoints: Sequence[Endpoint], ask: Callable[[Endpoint], Awaitable[T]]) -> T:
    """The answer of the first endpoint that has one. Raises ImageError with what each of them said."""
    failures: list[ImageError] = []
    for endpoint in endpoints:
        try:
            return await ask(endpoint)
        except ImageError as error:
            failures.append(error)
    causes = dict.fromkeys(failure.message for failure in failures)
    hints = [failure.hint for failure in failures if failure.hint is not None]
    raise ImageError("; ".join(causes), hint=hints[0] if hints else None)


async def _all(works: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """All results, worked at together. The first failure ends the others, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


@contextmanager
def _about(reference: Reference) -> Iterator[None]:
    """Makes a sentence of a clause."""
    try:
        with _disk():
            yield
    except ImageError as error:
        raise ImageError(f'cannot pull image "{reference}": {error}', hint=error.hint) from None


@contextmanager
def _said_by(endpoint: Endpoint) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise ImageError(f'registry "{endpoint.host}": {error}', hint=error.hint) from None


@contextmanager
def _disk() -> Iterator[None]:
    """An OSError in here is the disk's."""
    try:
        yield
    except OSError as error:
        cause = describe_errno(error.errno or errno.EIO)
        hint = "free some space below --root" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise ImageError(f"the image store cannot be written: {cause}", hint=hint) from error
