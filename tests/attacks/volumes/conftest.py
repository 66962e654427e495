"""The runtime's world and the volumes' service, for attacks on volumes."""

from tests.system.runtime.conftest import busybox, world
from tests.system.volumes.conftest import layout, service

__all__ = ["busybox", "layout", "service", "world"]
