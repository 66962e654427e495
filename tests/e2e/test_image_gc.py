"""Images that nothing runs from go when the disk is full, and no others."""

from __future__ import annotations

import dataclasses

import pytest

from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NOW = ("--image-gc-high-threshold", "0", "--image-gc-low-threshold", "0", "--minimum-image-ttl-duration", "0s")


def images(nsrun: Nsrun) -> str:
    return nsrun.cli("images").stdout


def test_what_nothing_runs_from_goes_when_the_disk_is_too_full(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("runs.yaml", shell_pod("runs", "exec sleep 1000", restart="Always"))
    loaded.apply("ended.yaml", shell_pod("ended", "exit 0"))
    loaded.ready("runs")
    assert "nginx" in images(loaded)
    loaded.kill()
    # A disk that may be used not at all is too full.
    full = dataclasses.replace(loaded, flags=(*loaded.flags, *NOW))
    full.start()
    try:
        eventually(lambda: "nginx" not in images(full))
        assert "busybox" in images(full), "a container runs from it"
        # Nothing is left that may go, and it is still too full.
        eventually(lambda: "Failed to garbage collect required amount of images" in full.said())
        full.ready("runs")
    finally:
        loaded.process = full.process
