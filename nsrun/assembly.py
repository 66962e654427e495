"""Parts that the daemon and single commands build alike."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nsrun.images.keychain import AUTH_FILES, FileKeychain, Keychain, auth_files
from nsrun.images.mounts import mounted_digests
from nsrun.images.policy import load_policy
from nsrun.images.registries import Registries, load_registries
from nsrun.images.service import ImageService
from nsrun.images.shortnames import ShortNames
from nsrun.images.store import Store
from nsrun.images.tls import Certificates, own_certificates
from nsrun.images.wording import OTHER_PLACE, sentences
from nsrun.support.layout import Layout

if TYPE_CHECKING:
    from nsrun.images.login import Logins
    from nsrun.images.push import Pusher

__all__ = ["image_pusher", "image_service", "image_store", "images_in_use", "logins", "short_names"]


def image_service(
    layout: Layout,
    registries_conf: Path | None = None,
    policy: Path | None = None,
    *,
    auth_file: Path | None = None,
    keychain: Keychain | None = None,
    certificates: Path | None = None,
    verify: bool | None = None,
) -> ImageService:
    """The image store of ``layout`` with this machine's registries, credentials, certificates and policy, and what a
    command was told instead of them. ``certificates``: the directory for every registry. ``verify``: whether TLS is
    verified, whatever registries.conf says. Raises SettingsError.
    """
    environment = dict(os.environ)
    registries, keys, trusted = _access(environment, registries_conf, auth_file, certificates, verify)
    return ImageService(
        layout=layout,
        registries=registries,
        credentials=keychain or keys,
        certificates=trusted,
        policy=load_policy(policy, environment),
        environment=environment,
        in_use=lambda: images_in_use(layout),
    )


def _access(
    environment: Mapping[str, str],
    registries_conf: Path | None,
    auth_file: Path | None,
    certificates: Path | None,
    verify: bool | None,
) -> tuple[Registries, Keychain, Certificates]:
    """The way to registries. Raises SettingsError."""
    registries = load_registries(registries_conf, environment)
    files = (auth_file,) if auth_file is not None else auth_files(environment)
    helpers = registries.credential_helpers or (AUTH_FILES,)
    return (
        replace(registries, verify=verify),
        FileKeychain(files, environment, sources=helpers),
        replace(own_certificates(environment), home=certificates),
    )


def image_store(layout: Layout) -> Store:
    """The images of ``layout``, for what needs neither registries nor layers. Blocks. Raises ImageError."""
    store = Store(layout.images)
    with sentences("open the image store", denied=OTHER_PLACE):
        store.open()
    return store


@asynccontextmanager
async def image_pusher(
    layout: Layout,
    registries_conf: Path | None = None,
    *,
    auth_file: Path | None = None,
    keychain: Keychain | None = None,
    certificates: Path | None = None,
    verify: bool | None = None,
) -> AsyncIterator[Pusher]:
    """Who pushes the images of ``layout``; the rest as for ``image_service``. Raises SettingsError, ImageError."""
    from nsrun.images.push import Pusher
    from nsrun.images.pushclient import PushClient

    environment = dict(os.environ)
    registries, keys, trusted = _access(environment, registries_conf, auth_file, certificates, verify)
    client = PushClient(credentials=keychain or keys, certificates=trusted, environment=environment)
    try:
        yield Pusher(store=image_store(layout), registries=registries, client=client)
    finally:
        await client.close()


def logins(
    registries_conf: Path | None = None,
    *,
    auth_file: Path | None = None,
    certificates: Path | None = None,
    verify: bool | None = None,
) -> Logins:
    """Who is logged in on this machine. Raises SettingsError."""
    from nsrun.images.login import Logins

    environment = dict(os.environ)
    registries, _, trusted = _access(environment, registries_conf, auth_file, certificates, verify)
    files = (auth_file,) if auth_file is not None else auth_files(environment)
    return Logins(files=files, registries=registries, certificates=trusted, environment=environment)


def short_names() -> ShortNames:
    """What names without a registry mean on this machine. Raises SettingsError."""
    return load_registries(None, dict(os.environ)).names


def images_in_use(layout: Layout) -> frozenset[str]:
    """Manifest digests of the images that containers run from, as the run directory tells it, of those that pods have
    as volumes, and of those that are mounted: whoever removes images may be another process than the one that runs the
    containers."""
    found = set(mounted_digests())
    for record in layout.pods.glob("*/volumes/kubernetes.io~image/*"):
        try:
            found.add(os.readlink(record))
        except OSError:
            continue  # its pod is gone meanwhile
    for state in layout.run_pods.glob("*/containers/*/*/state.json"):
        try:
            found.add(str(json.loads(state.read_bytes())["image_digest"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # half written or gone: nothing runs from it yet, or any more
    return frozenset(found)
