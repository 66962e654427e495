"""Images for the rest of nsrun: the supervisor's ``Images``, and what the command line asks for."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nsrun.errors import ImageError
from nsrun.images.collect import Collector, Removed, Space, disk_space
from nsrun.images.keeper import Keeper, Pruned
from nsrun.images.keychain import Keychain
from nsrun.images.layers import Layers, read_rootfs_file
from nsrun.images.offloop import off_loop
from nsrun.images.platform import Platform, platform_of_machine
from nsrun.images.policy import Policy
from nsrun.images.private import admitted, is_open_to
from nsrun.images.progress import Report, silent
from nsrun.images.puller import Puller
from nsrun.images.reference import Reference
from nsrun.images.registries import Registries, record_alias
from nsrun.images.shortnames import ShortNames, bare_name, first_of
from nsrun.images.store import Store, StoredImage
from nsrun.images.tls import Certificates
from nsrun.images.wording import OTHER_PLACE, sentences
from nsrun.model.credentials import Credentials
from nsrun.model.image import Image, PullPolicy
from nsrun.model.retention import ImageRetention, Reclaimed
from nsrun.support.clock import Clock, SystemClock
from nsrun.support.layout import Layout

if TYPE_CHECKING:
    from nsrun.images.disk import StoreDisk
    from nsrun.images.registry import RegistryClient
    from nsrun.model.figures import Filesystem

__all__ = ["ImageService", "ImageSummary"]

logger = logging.getLogger(__name__)

_ACCOUNT_FILE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSummary:
    """One line of a listing. ``digest``: the manifest's. ``config_digest``: the image ID. ``size``: of all blobs."""

    reference: str
    digest: str
    config_digest: str
    size: int
    platform: str


class ImageService:
    """The image store and those who fill it. Use it as an async context manager, or ``open`` and ``close`` it.

    ``in_use`` tells the digests of the manifests that containers run from: they are never removed. ``environment`` is
    looked at for proxies only.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        registries: Registries | None = None,
        credentials: Keychain | None = None,
        certificates: Certificates | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        in_use: Callable[[], Collection[str]] = frozenset,
        machine: Platform | None = None,
        space: Callable[[Path], Space] = disk_space,
        policy: Policy | None = None,
    ) -> None:
        registries = registries or Registries()
        self._layout = layout
        self._names = registries.names
        self._answers = registries.recorded
        self._policy = policy or Policy()
        self._credentials = credentials or Credentials()
        self._certificates = certificates or Certificates()
        self._environment = environment or {}
        self._clock = clock or SystemClock()
        self._in_use = in_use
        self._platform = machine or platform_of_machine(platform.machine())
        self._store = Store(layout.images, machine=self._platform)
        self._layers = Layers(layout.layers)
        self._registry: RegistryClient | None = None
        self._puller = Puller(
            store=self._store,
            layers=self._layers,
            registries=registries,
            client=self._client,
            platform=self._platform,
            policy=self._policy,
        )
        self._collector = Collector(
            store=self._store,
            layers=self._layers,
            directory=layout.images,
            in_use=in_use,
            clock=self._clock,
            space=space,
        )
        self.keeper = Keeper(
            store=self._store,
            layers=self._layers,
            collector=self._collector,
            images_root=layout.images,
            layers_root=layout.layers,
            in_use=in_use,
        )
        self._disk: StoreDisk | None = None
        # Images by the digest of their manifest, which says all about them but the name.
        self._known: dict[str, Image] = {}
        self._settling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Makes the store ready. Raises ImageError."""
        with sentences("open the image store", denied=OTHER_PLACE):
            await off_loop(self._prepare)

    async def close(self) -> None:
        """Closes the connections to registries, once what is being put on the disk is there."""
        if self._settling is not None:
            await asyncio.wait([self._settling])
        registry, self._registry = self._registry, None
        if registry is not None:
            await registry.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ensure(
        self,
        reference: str,
        policy: PullPolicy,
        *,
        pulling: Callable[[], None] | None = None,
        credentials: Credentials | None = None,
    ) -> Image:
        """The image, pulled if the policy asks for it or it is absent, or not this pod's (``private``).

        ``pulling`` is called before a registry is asked. ``credentials``: tried before this machine's own.
        Raises ImageError with the kubelet's reason.
        """
        try:
            return await self._ensure(reference, policy, pulling, credentials)
        finally:
            self._settle_soon()

    async def _ensure(
        self,
        reference: str,
        policy: PullPolicy,
        pulling: Callable[[], None] | None,
        credentials: Credentials | None,
    ) -> Image:
        if policy is not PullPolicy.ALWAYS:
            present = await self._resolve(reference, lambda stored: is_open_to(stored.secrets, credentials))
            if present is not None:
                return present
        if policy is PullPolicy.NEVER:
            raise ImageError(
                f'Container image "{reference}" is not present with pull policy of Never',
                reason="ErrImageNeverPull",
                hint="load it with nsrun load, or let imagePullPolicy be IfNotPresent",
            )
        meanings = self._names.to_pull(reference)
        if pulling is not None:
            pulling()
        return await first_of(reference, meanings, lambda meant: self._newest(meant, credentials))

    async def pull(self, reference: str, report: Report = silent) -> Image:
        """Asks the registry, whatever is here; fetches what is missing. Raises ImageError."""
        return await first_of(reference, self._names.to_pull(reference), lambda meant: self._fetch(meant, report))

    @property
    def names(self) -> ShortNames:
        """What names without a registry mean here."""
        return self._names

    async def remember(self, name: str, meant: Reference) -> None:
        """From now on the short name means this, for everybody who reads registries.conf. Raises SettingsError."""
        answers = self._answers
        if answers is not None:
            await off_loop(lambda: record_alias(answers, bare_name(name), meant))

    async def resolve(self, reference: str) -> Image | None:
        """The image if it is here, None otherwise. Raises ImageError (InvalidImageName, ImageInspectError)."""
        return await self._resolve(reference, lambda _: True)

    async def _resolve(self, reference: str, allowed: Callable[[StoredImage], bool]) -> Image | None:
        for meant in self._names.meanings(reference):
            stored = await off_loop(partial(self._store.find, meant))
            present = await self._present(stored) if stored is not None and allowed(stored) else None
            if present is not None:
                return present
        return None

    async def load(self, path: Path) -> tuple[str, ...]:
        """Takes every named image out of an OCI image layout (directory or tar) or a docker-archive.

        Returns the names, normalised. Raises ImageError.
        """
        from nsrun.images.archive import load_archive  # for who loads

        with sentences(f'load "{path}"'):
            with await off_loop(self._store.intake) as intake:
                images = await off_loop(
                    lambda: load_archive(path, intake, self._store.blobs, self._platform, self._policy)
                )
                for image in images:
                    await self._take(image)
            await self.collect()
        return tuple(str(image.reference) for image in images)

    async def list(self) -> tuple[ImageSummary, ...]:
        """Every image, by name. Raises ImageError."""
        return await off_loop(self._summaries)

    async def remove(self, reference: str, *, force: bool = False) -> Pruned:
        """Removes a name, or by an ID what has no other name, and what only it led to.

        ``force``: also several names of an ID, and that of an image that a container runs from. Raises NotFoundError,
        ConflictError; ImageError when a container runs from it.
        """
        names = await self.keeper.remove(await self._called(reference), force=force)
        with sentences("collect unused images"):
            removed = await self._collector.sweep()
        self._known.clear()
        return Pruned(names=names, removed=removed or Removed())

    async def collect(self) -> bool:
        """Removes blobs and layers that no image and no container needs. Raises ImageError.

        False when a pull is under way: then nothing is removed, and a later call will do it.
        """
        with sentences("collect unused images"):
            swept = await self._collector.sweep()
        self._known.clear()
        return swept is not None

    async def reclaim(self, retention: ImageRetention, used: Collection[str]) -> Reclaimed:
        """Removes images that nothing runs from, when they are too old or the disk is too full; what others have
        pulled is on the disk afterwards (``settling``). Raises ImageError."""
        with sentences("collect unused images"):
            done = await self._collector.reclaim(retention, used)
        await self._settle(of_others=True)
        if done.images:
            self._known.clear()
        return done

    def _settle_soon(self) -> None:
        """Nobody waits for it."""
        if not self._layers.is_settled and (self._settling is None or self._settling.done()):
            self._settling = asyncio.create_task(self._settle())

    async def _settle(self, *, of_others: bool = False) -> None:
        try:
            await self._layers.settle(of_others=of_others)
        except OSError as error:  # they are unpacked again if the machine goes down now
            logger.warning("Unpacked layers are not on the disk: %s", error.strerror)

    async def filesystem(self) -> Filesystem:
        """The file system of the images, with what they use of it. Raises ImageError."""
        with sentences("measure the image store"):
            if self._disk is None:
                from nsrun.images.disk import StoreDisk  # figures are the daemon's: who pulls does not load them

                self._disk = StoreDisk(store=self._layout.images, layers=self._layout.layers)
            return await off_loop(self._disk.measure)

    async def _called(self, text: str) -> str:
        """The full name of what is here under a short one; else ``text``, which may be an ID."""
        with suppress(ImageError):
            for meant in self._names.meanings(text):
                if await off_loop(partial(self._store.find, meant)) is not None:
                    return str(meant)
        return text

    async def _take(self, image: StoredImage) -> None:
        """Unpacks a loaded image, which verifies its layers, and then gives it its name."""
        manifest, configuration = await off_loop(lambda: self._store.documents(image.manifest))
        await self._puller.unpack(manifest, configuration)
        await off_loop(lambda: self._store.tag(image))

    async def _fetch(self, wanted: Reference, report: Report, credentials: Credentials | None = None) -> Image:
        return await self._image(await self._puller.pull(wanted, report, credentials))

    async def _newest(self, wanted: Reference, credentials: Credentials | None) -> Image:
        """What the registry has now: pulled, unless it is here."""
        stored = await off_loop(lambda: self._store.find(wanted))
        if stored is not None and stored.source and await self._puller.digest(wanted, credentials) == stored.source:
            present = await self._present(stored)
            if present is not None:
                await self._admit(stored, self._puller.secrets_for(wanted, credentials))
                return present
        return await self._fetch(wanted, silent, credentials)

    async def _admit(self, stored: StoredImage, shown: frozenset[str]) -> None:
        secrets = admitted(stored.secrets, shown)
        if secrets != stored.secrets:
            await off_loop(lambda: self._store.tag(replace(stored, secrets=secrets)))

    async def _present(self, stored: StoredImage) -> Image | None:
        """The image, None when something of it is gone, so that it must be fetched again."""
        try:
            return await self._image(stored)
        except FileNotFoundError:
            return None

    async def _image(self, stored: StoredImage) -> Image:
        image = self._known.get(stored.digest)
        layers = image.layers if image is not None else ()
        if image is None or not await off_loop(lambda: all(Path(layer).is_dir() for layer in layers)):
            image = await self._assemble(stored)
            self._known[stored.digest] = image
        return replace(image, reference=str(stored.reference))

    async def _assemble(self, stored: StoredImage) -> Image:
        """Raises ImageError, FileNotFoundError when a blob is gone."""
        manifest, configuration = await off_loop(
            lambda: self._store.documents(stored.manifest, strange=not stored.source)
        )
        blobs = (manifest.config, *manifest.layers)
        if not await off_loop(lambda: all(self._store.blobs.has(blob.digest, blob.size) for blob in blobs)):
            raise FileNotFoundError(stored.digest)
        layers = tuple(reversed(await self._puller.unpack(manifest, configuration)))
        passwd = await off_loop(lambda: self._account_file(layers, "passwd"))
        group = await off_loop(lambda: self._account_file(layers, "group"))
        return Image(
            reference=str(stored.reference),
            digest=stored.digest,
            config_digest=manifest.config.digest,
            config=configuration.config,
            layers=tuple(str(layer) for layer in layers),
            size=sum(blob.size for blob in blobs),
            passwd=passwd,
            group=group,
        )

    def _account_file(self, layers: tuple[Path, ...], name: str) -> bytes:
        return read_rootfs_file(layers, f"/etc/{name}", stage=self._layout.stage, limit=_ACCOUNT_FILE_LIMIT)

    def _prepare(self) -> None:
        self._layout.stage.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._layers.check_marks()
        self._store.open()

    def _summaries(self) -> tuple[ImageSummary, ...]:
        summaries: list[ImageSummary] = []
        for image in self._store.images():
            try:
                manifest, configuration = self._store.documents(image.manifest)
            except (FileNotFoundError, ImageError):
                continue  # nsrun store check tells
            summaries.append(
                ImageSummary(
                    reference=str(image.reference),
                    digest=image.digest,
                    config_digest=manifest.config.digest,
                    size=sum(blob.size for blob in (manifest.config, *manifest.layers)),
                    platform=str(configuration.platform),
                )
            )
        return tuple(summaries)

    def _client(self) -> RegistryClient:
        if self._registry is None:
            from nsrun.images.registry import RegistryClient  # aiohttp is a fifth of a start: only who pulls pays

            self._registry = RegistryClient(
                credentials=self._credentials,
                certificates=self._certificates,
                environment=self._environment,
                clock=self._clock,
            )
        return self._registry
