"""The runtime's world, for attacks on it."""

from tests.system.runtime.conftest import busybox, world

__all__ = ["busybox", "world"]
