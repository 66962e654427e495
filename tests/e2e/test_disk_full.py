"""The disk of ``--root`` is full, in the midst of a pull, of unpacking, of a start: one clear sentence, pods go on,
the store is whole, and all works again once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Nsrun, container_status, pod_named
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

MIB = 1 << 20
NO_ROOM = "no space left on device (ENOSPC)"
REMEDY = "free some space below --root"


class SmallDisk:
    """A tmpfs on ``--root``, and a file that takes what is free of it."""

    def __init__(self, nsrun: Nsrun, registry: Registry) -> None:
        self.nsrun = nsrun
        self.registry = registry
        self.filler = nsrun.root / "filler"

    def fill(self, *, but: int = 0) -> None:
        """Until so many bytes are free."""
        self.empty()
        space = os.statvfs(self.nsrun.root)
        size = space.f_bavail * space.f_frsize - but
        with self.filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def empty(self) -> None:
        self.filler.unlink(missing_ok=True)

    def offer(self, name: str, layer: bytes, *, compression: str = "gzip") -> None:
        """Puts an image into the registry, and its name as that of docker.io into registries.conf."""
        source = LayoutBuilder(self.nsrun.base / f"source-{name}")
        source.image(name, ImageParts.make([layer], compression=compression))
        self.registry.push(source.path, name, to=f"library/{name}:latest")

    def complaint(self, *command: str) -> str:
        """What nsrun says when it cannot: nothing that looks like a traceback."""
        done = self.nsrun.cli(*command, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def is_whole(self) -> bool:
        done = self.nsrun.cli("store", "check", check=False)
        harmless = ("leftover ", "unneeded ", "unchecked ", "  ")
        findings = [line for line in done.stdout.splitlines() if not line.startswith(harmless)]
        assert findings == [], done.stdout + done.stderr
        return True


@pytest.fixture
def disk(nsrun: Nsrun, store: Path, registry: Registry) -> Iterator[SmallDisk]:
    """The demo images on a small disk, and the daemon."""
    nsrun.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(nsrun.root)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{store}/.", str(nsrun.root)], check=True)
        registry.start()
        nsrun.environment = {"NSRUN_REGISTRIES_CONF": str(registry.registries_conf())}
        nsrun.flags = (*nsrun.flags, "--image-gc-high-threshold", "100", "--image-gc-low-threshold", "100")
        nsrun.start()
        nsrun.apply("runs.yaml", shell_pod("runs", "exec sleep 1000", restart="Always"))
        nsrun.ready("runs")
        yield SmallDisk(nsrun, registry)
    finally:
        if nsrun.process is not None and nsrun.process.poll() is None:
            nsrun.kill()
        (nsrun.root / "filler").unlink(missing_ok=True)
        nsrun.cli("down", "--time", "0")
        subprocess.run(["umount", "--lazy", str(nsrun.root)], check=True)


def first_run(nsrun: Nsrun) -> object:
    """The container of the pod that runs, which must stay the same one; and a command in it works."""
    pod = pod_named(nsrun.pods(), "runs")
    assert pod is not None
    status = container_status(pod, "main")
    assert status["restartCount"] == 0
    assert nsrun.cli("exec", "runs", "--", "echo", "well").stdout == "well\n"
    return status["containerID"]


def test_in_the_midst_of_a_pull(disk: SmallDisk) -> None:
    nsrun, before = disk.nsrun, first_run(disk.nsrun)
    disk.offer("big", layer_tar({"random": os.urandom(12 * MIB)}), compression="none")
    disk.fill(but=4 * MIB)
    said = disk.complaint("pull", "big")
    assert 'cannot pull image "docker.io/library/big:latest": ' in said
    assert NO_ROOM in said
    assert REMEDY in said
    assert first_run(nsrun) == before
    assert disk.is_whole()
    nsrun.cli("prune", "--force")
    free = os.statvfs(nsrun.root)
    assert free.f_bavail * free.f_frsize > 3 * MIB, "what came of it is given back"
    disk.empty()
    nsrun.cli("pull", "big")
    assert disk.is_whole()
    assert first_run(nsrun) == before


def test_while_a_layer_is_unpacked(disk: SmallDisk) -> None:
    nsrun, before = disk.nsrun, first_run(disk.nsrun)
    disk.offer("zeros", layer_tar({"zeros": bytes(20 * MIB)}))
    disk.fill(but=6 * MIB)
    said = disk.complaint("pull", "zeros")
    assert "cannot pull" in said
    assert NO_ROOM in said
    assert REMEDY in said
    assert first_run(nsrun) == before
    assert disk.is_whole()
    disk.empty()
    nsrun.cli("pull", "zeros")
    assert disk.is_whole()


def test_a_pod_waits_for_room(disk: SmallDisk) -> None:
    """Its image cannot be pulled; then its volumes and its root file system have no room; then it runs."""
    nsrun, before = disk.nsrun, first_run(disk.nsrun)
    disk.registry.push(nsrun.root / "images", "docker.io/library/busybox:latest", to="library/again:latest")
    disk.fill()
    manifest = shell_pod("waits", "exec sleep 1000", restart="Always").replace("image: busybox", "image: again")
    nsrun.apply("waits.yaml", manifest)
    eventually(lambda: NO_ROOM in nsrun.said(), what="the daemon says what is wrong")
    eventually(lambda: waits_for_room(nsrun), what="so does the pod")
    assert first_run(nsrun) == before
    disk.empty()
    nsrun.ready("waits", seconds=90)
    assert disk.is_whole()
    assert first_run(nsrun) == before


def waits_for_room(nsrun: Nsrun) -> bool:
    said = nsrun.cli("events").stdout + nsrun.cli("pods", "waits", "-o", "json").stdout
    return NO_ROOM in said


def test_a_start_without_room(disk: SmallDisk) -> None:
    nsrun, before = disk.nsrun, first_run(disk.nsrun)
    disk.fill()
    nsrun.apply("second.yaml", shell_pod("second", "exec sleep 1000", restart="Always"))
    eventually(lambda: NO_ROOM in nsrun.said(), what="the daemon says what is wrong")
    assert first_run(nsrun) == before
    assert "Traceback" not in nsrun.said()
    disk.empty()
    nsrun.ready("second", seconds=90)
    assert disk.is_whole()


def test_names_stay_when_they_cannot_be_written(disk: SmallDisk) -> None:
    """tag and rmi need a little room; without any they say so, and nothing is lost."""
    before = disk.nsrun.cli("images").stdout
    disk.fill()
    said = disk.complaint("tag", "busybox", "other")
    assert NO_ROOM in said
    assert disk.nsrun.cli("images").stdout == before
    disk.empty()
    disk.nsrun.cli("tag", "busybox", "other")
    assert "other" in disk.nsrun.cli("images").stdout
    assert disk.is_whole()
