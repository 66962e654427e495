"""Fixtures of the attacks on the registry client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.attacks.images.lying import LyingRegistry
from tests.system.images.conftest import layout, service

__all__ = ["elsewhere", "layout", "lying", "service"]


@pytest.fixture
async def lying() -> AsyncIterator[LyingRegistry]:
    """The registry that is asked."""
    made = LyingRegistry()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def elsewhere() -> AsyncIterator[LyingRegistry]:
    """Another server, which should learn nothing."""
    made = LyingRegistry()
    await made.start()
    yield made
    await made.stop()
