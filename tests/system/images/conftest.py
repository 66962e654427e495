"""Fixtures of the image tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from nsrun.images.keychain import Keychain
from nsrun.images.registries import Registries
from nsrun.images.service import ImageService
from nsrun.images.tls import Certificates
from nsrun.support.clock import Clock
from nsrun.support.layout import Layout
from tests.registry import registry

__all__ = ["MakeService", "layout", "registry", "service"]


class MakeService(Protocol):
    """Makes an open ImageService on the test's layout."""

    async def __call__(
        self,
        *,
        registries: Registries | None = None,
        credentials: Keychain | None = None,
        certificates: Path = Path("/nowhere"),
        in_use: Callable[[], frozenset[str]] = frozenset,
        clock: Clock | None = None,
    ) -> ImageService: ...


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")


@pytest.fixture
async def service(layout: Layout) -> AsyncIterator[MakeService]:
    async with AsyncExitStack() as stack:

        async def make(
            *,
            registries: Registries | None = None,
            credentials: Keychain | None = None,
            certificates: Path = Path("/nowhere"),
            in_use: Callable[[], frozenset[str]] = frozenset,
            clock: Clock | None = None,
        ) -> ImageService:
            made = ImageService(
                layout=layout,
                registries=registries,
                credentials=credentials,
                certificates=Certificates(roots=(certificates,)),
                in_use=in_use,
                clock=clock,
            )
            return await stack.enter_async_context(made)

        yield make
