"""The tests here live in the network's small world."""

from tests.system.network.fixtures import world

__all__ = ["world"]
