"""From the store to a registry: blobs first, several at once, what is there already not at all; the manifest last, with
the very bytes that it was pulled with, so its digest stays what it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from nsrun.errors import ImageError, describe_errno
from nsrun.images.documents import (
    DOCUMENT_LIMIT,
    Descriptor,
    ImageManifest,
    parse,
    stored_manifest,
)
from nsrun.images.exchange import Request
from nsrun.images.offloop import off_loop
from nsrun.images.progress import Progress, Report, Stage
from nsrun.images.pushclient import PushClient, header
from nsrun.images.reference import Reference
from nsrun.images.registries import Endpoint, Registries
from nsrun.images.store import Store, StoredImage
from nsrun.images.upload import Outcome, Upload, push_scope

__all__ = ["Pusher"]

_AT_ONCE = 4
_STAGES = {Outcome.PRESENT: Stage.PRESENT, Outcome.MOUNTED: Stage.MOUNTED, Outcome.UPLOADED: Stage.READY}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """A manifest as the world knows it."""

    data: bytes
    digest: str
    manifest: ImageManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Push:
    """What every step of one push needs. ``origins``: repositories of the same registry that have a blob, by digest."""

    target: Reference
    endpoint: Endpoint
    origins: Mapping[str, str]
    report: Report

    def tell(self, stage: Stage, blob: Descriptor, done: int = 0) -> None:
        self.report(Progress(reference=str(self.target), stage=stage, layer=blob.digest, done=done, total=blob.size))


class Pusher:
    """Pushes images of one store."""

    def __init__(self, *, store: Store, registries: Registries, client: PushClient) -> None:
        self.store = store
        self._registries = registries
        self._client = client

    async def push(self, image: StoredImage, target: Reference, report: Report) -> str:
        """Gives the image to the registry of ``target``, never to a mirror; returns the digest of its manifest there.

        Raises ImageError.
        """
        report(Progress(reference=str(target), stage=Stage.RESOLVING))
        with _about(image, target):
            endpoint = self._registries.endpoints(target)[-1]
            with await off_loop(self.store.intake):  # nothing is collected meanwhile
                document = await off_loop(lambda: self._document(image))
                if target.digest not in ("", document.digest):
                    raise ImageError(f"its digest is {document.digest}")
                origins = await off_loop(lambda: self._origins(endpoint))
                push = _Push(target=target, endpoint=endpoint, origins=origins, report=report)
                await self._blobs(push, document.manifest)
                await self._manifest(push, document)
            return document.digest

    async def _blobs(self, push: _Push, manifest: ImageManifest) -> None:
        blobs = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
        places = asyncio.Semaphore(_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                for blob in blobs.values():
                    group.create_task(self._blob(push, blob, places))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _blob(self, push: _Push, blob: Descriptor, places: asyncio.Semaphore) -> None:
        if not await off_loop(lambda: self.store.blobs.has(blob.digest, blob.size)):
            raise ImageError(f"its blob {blob.digest} is not in the store", hint="pull the image again")
        tell_soon = asyncio.get_running_loop().call_soon_threadsafe  # bytes are sent in a thread
        upload = Upload(
            self._client,
            push.endpoint,
            blob,
            self.store.blobs.path(blob.digest),
            origin=push.origins.get(blob.digest),
            told=lambda done: tell_soon(push.tell, Stage.UPLOADING, blob, done),
        )
        async with places:
            push.tell(_STAGES[await upload.run()], blob, blob.size)

    async def _manifest(self, push: _Push, document: _Document) -> None:
        endpoint = push.endpoint
        request = Request(
            method="PUT",
            url=f"/v2/{endpoint.repository}/manifests/{push.target.identifier}",
            headers={"Content-Type": document.manifest.media_type, "Content-Length": str(len(document.data))},
            body=document.data,
        )

        async def put() -> None:
            answer = await self._client.answer(request, endpoint, scope=push_scope(endpoint), size=len(document.data))
            if answer.status != 201:
                raise self._client.refusal(answer, endpoint)
            stated = header(answer, "docker-content-digest")
            if stated not in ("", document.digest):
                raise ImageError(f'registry "{endpoint.host}" has taken {document.digest} for {stated[:80]!r}')

        await self._client.persistently(put, lambda: 0)
        push.report(Progress(reference=str(push.target), stage=Stage.READY))

    def _document(self, image: StoredImage) -> _Document:
        """The manifest as it was pulled, if it is still here; else the one that the store made of it."""
        for digest in (image.digest, image.manifest.digest):
            try:
                data = self.store.blobs.read(digest, limit=DOCUMENT_LIMIT)
            except FileNotFoundError:
                continue
            media_type = str(parse(data).get("mediaType") or image.manifest.media_type)
            manifest = stored_manifest(data, media_type)
            if isinstance(manifest, ImageManifest):
                return _Document(data=data, digest=digest, manifest=manifest)
        raise ImageError("its manifest is gone", hint="pull the image again")

    def _origins(self, endpoint: Endpoint) -> dict[str, str]:
        """Where in the same registry blobs may be: in the repositories that images of this store are named after."""
        origins: dict[str, str] = {}
        for image in self.store.images():
            try:
                place = self._registries.endpoints(image.reference)[-1]
                if place.host != endpoint.host or place.repository == endpoint.repository:
                    continue
                manifest, _ = self.store.documents(image.manifest)
            except (ImageError, FileNotFoundError):
                continue
            for blob in (manifest.config, *manifest.layers):
                origins.setdefault(blob.digest, place.repository)
        return origins


@contextmanager
def _about(image: StoredImage, target: Reference) -> Iterator[None]:
    """Makes a sentence of a clause."""
    where = "" if target == image.reference else f' to "{target}"'
    try:
        yield
    except OSError as error:
        raise ImageError(f'cannot push image "{image.reference}"{where}: {describe_errno(error.errno or 0)}') from error
    except ImageError as error:
        cause = error.message.partition('": ')[2] if error.message.startswith("cannot pull") else error.message
        raise ImageError(f'cannot push image "{image.reference}"{where}: {cause}', hint=error.hint) from None
