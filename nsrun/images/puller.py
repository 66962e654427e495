"""From a reference to a stored, unpacked image.

    endpoints ─▶ manifest (or index ─▶ manifest for this platform) ─┬▶ configuration ─▶ diff_ids ┐
                                                                    ├▶ layer ─▶ blob ─▶ unpacked ┼▶ name
                                                                    └▶ layer ─▶ blob ─▶ unpacked ┘

A layer is unpacked while it comes (``growth``); a blob that broke off is gone on with, by the next endpoint or the next
pull. What is here already is not fetched again. The name comes last, so an image that has one is whole. One pull per
reference and one download per layer, however many ask; but nobody gets what another one's credentials opened.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
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
from nsrun.images.growth import BlobReader, ReadCancelled
from nsrun.images.layers import Layers
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.offloop import off_loop
from nsrun.images.platform import Platform, best_match
from nsrun.images.policy import Policy
from nsrun.images.private import secrets_for
from nsrun.images.progress import Progress, Report, Stage
from nsrun.images.reference import Reference
from nsrun.images.registries import Endpoint, Registries
from nsrun.images.retry import BrokenOff
from nsrun.images.singleflight import SingleFlight
from nsrun.images.store import Intake, Store, StoredImage
from nsrun.images.unpack import MalformedLayer
from nsrun.model.credentials import Credentials

if TYPE_CHECKING:
    from nsrun.images.registry import RegistryClient  # loaded by whoever makes one

__all__ = ["Puller", "choose_platform"]

T = TypeVar("T")

_PARALLEL_DOWNLOADS = 4
_TELL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pull:
    """What every step of one pull needs. ``places``: so many layers are downloaded at once."""

    reference: Reference
    endpoints: Sequence[Endpoint]
    credentials: Credentials | None
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
        policy: Policy,
    ) -> None:
        self._store = store
        self._layers = layers
        self._registries = registries
        self._client = client
        self._platform = platform
        self._policy = policy
        self._pulls: SingleFlight[StoredImage] = SingleFlight()
        self._blobs: SingleFlight[None] = SingleFlight()

    async def pull(self, reference: Reference, report: Report, credentials: Credentials | None = None) -> StoredImage:
        """Fetches what is missing and gives it its name. ``credentials``: tried before this machine's own.

        Raises ImageError (ErrImagePull).
        """
        self._policy.check_pull(reference)
        key = (str(reference), credentials)
        return await self._pulls.run(key, lambda: self._pull(reference, report, credentials))

    async def digest(self, reference: Reference, credentials: Credentials | None = None) -> str | None:
        """What the reference names at its registry now, None when the registry does not say. Raises ImageError."""
        endpoints = self._registries.endpoints(reference)
        with _about(reference):
            return await _first(
                endpoints, lambda e: self._client().digest(e, reference.identifier, credentials=credentials)
            )

    def secrets_for(self, reference: Reference, credentials: Credentials | None) -> frozenset[str]:
        """The pod's Secrets that count where the reference is pulled from. Raises ImageError."""
        return secrets_for(self._registries.endpoints(reference), credentials)

    async def unpack(self, manifest: ImageManifest, configuration: ImageConfiguration) -> tuple[Path, ...]:
        """The directories of an image's layers, bottom first, unpacked from their blobs where they are not there.

        Raises ImageError.
        """
        pairs = zip(manifest.layers, configuration.diff_ids, strict=True)
        return tuple(await _all(self._unpack(layer, diff_id) for layer, diff_id in pairs))

    async def _pull(self, reference: Reference, report: Report, credentials: Credentials | None) -> StoredImage:
        endpoints = self._registries.endpoints(reference)
        report(Progress(reference=str(reference), stage=Stage.RESOLVING))
        with _about(reference), await off_loop(self._store.intake) as intake:
            pull = _Pull(
                reference=reference,
                endpoints=endpoints,
                credentials=credentials,
                intake=intake,
                report=report,
                places=asyncio.Semaphore(_PARALLEL_DOWNLOADS),
            )
            found = await _first(endpoints, lambda endpoint: self._resolve(endpoint, pull))
            await self._content(pull, found.manifest)
            kept = await off_loop(lambda: intake.keep(reference, found.data, found.manifest, found.descriptor))
            image = replace(kept, source=found.source, secrets=secrets_for(endpoints, credentials))
            await off_loop(lambda: self._store.tag(image))
        report(Progress(reference=str(reference), stage=Stage.READY))
        return image

    async def _content(self, pull: _Pull, manifest: ImageManifest) -> None:
        """All that the manifest leads to, at once: a layer need not know its diff_id to come."""
        configuration: asyncio.Future[ImageConfiguration] = asyncio.get_running_loop().create_future()

        async def configure() -> None:
            configuration.set_result(await self._configuration(pull, manifest))

        async def diff_id(number: int) -> str:
            return (await asyncio.shield(configuration)).diff_ids[number]

        layers = (self._layer(pull, layer, partial(diff_id, number)) for number, layer in enumerate(manifest.layers))
        await _all((configure(), *layers))

    async def _resolve(self, endpoint: Endpoint, pull: _Pull) -> _Found:
        """The manifest that suits this machine. Raises ImageError."""
        client = self._client()
        named = await client.manifest(endpoint, pull.reference.identifier, credentials=pull.credentials)
        with _said_by(endpoint):
            document = await off_loop(lambda: accept_manifest(named.data, named.media_type))
            if isinstance(document, ImageManifest):
                own = Descriptor(media_type=document.media_type, digest=named.digest, size=len(named.data))
                return _Found(source=named.digest, data=named.data, descriptor=own, manifest=document)
            chosen = choose_platform(document, self._platform)
        fetched = await client.manifest(endpoint, chosen.digest, credentials=pull.credentials)
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

    async def _layer(self, pull: _Pull, layer: Descriptor, diff_id: Callable[[], Awaitable[str]]) -> None:
        if layer.size > DEFAULT_LIMITS.size:
            raise ImageError(f"its layer {layer.digest} is larger than {DEFAULT_LIMITS.size >> 30} GiB")
        coming: asyncio.Future[BlobReader] = asyncio.get_running_loop().create_future()
        whole = asyncio.Event()

        async def fetch() -> None:
            await self._blob(pull, layer, coming)
            whole.set()

        try:
            await _all((fetch(), self._take(layer, coming, whole, diff_id)))
        finally:
            if coming.done() and not coming.cancelled():
                coming.result().close()  # as long as it is open, nobody else goes on with the blob
        pull.tell(Stage.READY, layer, done=layer.size)

    async def _take(
        self,
        layer: Descriptor,
        coming: asyncio.Future[BlobReader],
        whole: asyncio.Event,
        diff_id: Callable[[], Awaitable[str]],
    ) -> None:
        """Unpacks a layer while it comes. ``whole``: all of it is here, and its digest is right."""
        name = await diff_id()
        # When it is broken off, its download says why.
        blob = await asyncio.shield(coming)
        try:
            with suppress(ReadCancelled):
                await self._layers.take(lambda: blob, media_type=layer.media_type, diff_id=name)
        except MalformedLayer:
            # A crash may have damaged what was left of it, or a mirror have sent something else: its digest tells, and
            # whoever downloads it begins anew.
            await whole.wait()
            await self._unpack(layer, name)

    async def _unpack(self, layer: Descriptor, diff_id: str) -> Path:
        blob = self._store.blobs.path(layer.digest)
        return await self._layers.ensure(blob=blob, media_type=layer.media_type, diff_id=diff_id)

    async def _blob(
        self, pull: _Pull, descriptor: Descriptor, coming: asyncio.Future[BlobReader] | None = None
    ) -> None:
        """Makes sure that the blob is in the store. ``coming`` becomes what reads it, as early as possible."""
        # Pulls from one registry share a download; those from another must not have to wait for it, nor fail with it.
        key = (descriptor.digest, pull.endpoints[-1].host, pull.credentials)
        await self._blobs.run(key, lambda: self._fetch(pull, descriptor, coming))
        if coming is not None and not coming.done():
            coming.set_result(await off_loop(lambda: self._store.blobs.reader(descriptor.digest)))

    async def _fetch(self, pull: _Pull, descriptor: Descriptor, coming: asyncio.Future[BlobReader] | None) -> None:
        if await off_loop(lambda: self._store.blobs.has(descriptor.digest, descriptor.size)):
            return
        async with pull.places if coming is not None else nullcontext():
            writer = await off_loop(lambda: pull.intake.continued(descriptor.digest))
            try:
                if coming is not None and not coming.done():
                    coming.set_result(writer.reader())
                await off_loop(lambda: writer.recall(descriptor.size))
                await _first(pull.endpoints, lambda endpoint: self._download(pull, endpoint, descriptor, writer))
            finally:
                await off_loop(writer.close)
        if coming is not None:
            pull.tell(Stage.UNPACKING, descriptor)

    async def _download(self, pull: _Pull, endpoint: Endpoint, descriptor: Descriptor, writer: BlobWriter) -> None:
        client, sink = self._client(), _Sink(writer, pull, descriptor)
        try:
            pieced = writer.offset > 0
            if writer.offset < descriptor.size:
                pieced |= await client.blob(endpoint, descriptor, sink, credentials=pull.credentials)
            if pieced and writer.digest() != descriptor.digest:
                # The pieces do not fit together, which a cache or a load balancer may have brought about: once more,
                # whole.
                await off_loop(sink.restart)
                await client.blob(endpoint, descriptor, sink, credentials=pull.credentials)
            if (found := writer.digest()) != descriptor.digest:
                raise ImageError(f'registry "{endpoint.host}" sent {found} instead of {descriptor.digest}')
        except BrokenOff:
            raise  # what came is good to go on with
        except ImageError:
            await off_loop(sink.restart)
            raise
        await off_loop(writer.commit)
        pull.tell(Stage.DOWNLOADING, descriptor, done=descriptor.size)


class _Sink:
    """Writes what a registry sends into a blob, in the thread that takes it, and tells now and then how far it is."""

    def __init__(self, writer: BlobWriter, pull: _Pull, descriptor: Descriptor) -> None:
        self._writer = writer
        self._pull = pull
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._told = 0.0

    @property
    def offset(self) -> int:
        return self._writer.offset

    def write(self, chunk: bytes) -> None:
        with _disk():
            self._writer.write(chunk)
        if (now := time.monotonic()) - self._told >= _TELL_SECONDS and self.offset < self._descriptor.size:
            self._told = now
            self._loop.call_soon_threadsafe(self._pull.tell, Stage.DOWNLOADING, self._descriptor, self.offset)

    def restart(self) -> None:
        with _disk():
            self._writer.restart()


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
