"""Pulling: an image of real files from a registry on loopback, cold, into stores on a tmpfs."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import median
from bench.podman import Podman
from rootfs.ocilayout import Layer, LayoutWriter, platform
from tests.registry import Registry

__all__ = ["measure_nsrun", "measure_podman", "serve_image"]

NAME = "docker.io/library/bench:latest"
LAYERS = 6
CONTENT = 186_000_000
SOURCES = ("/usr/lib", "/usr/share", "/usr/bin")


def serve_image(base: Path) -> Registry | None:
    """A registry with the image in it: 6 layers, 186 MB of this machine's own files. None without the programs."""
    if not all(shutil.which(program) for program in ("docker-registry", "skopeo")):
        return None
    layout = base / "layout"
    writer = LayoutWriter(layout)
    layers = [Layer(tar=tar, comment="bench", created=0) for tar in _tars()]
    writer.add_image([NAME], layers, {"Cmd": ["true"]}, platform())
    writer.finish()
    registry = Registry(base / "registry")
    registry.start()
    registry.push(layout, NAME, "library/bench:latest")
    return registry


def _tars() -> Iterator[bytes]:
    """Layers of about the same size, of regular files in the order of their names."""
    share, out, held = CONTENT // LAYERS, io.BytesIO(), 0
    tar = tarfile.open(fileobj=out, mode="w")  # noqa: SIM115 - one after the other
    made = 0
    for path in _files():
        tar.add(path, recursive=False)
        held += path.stat().st_size
        if held >= share:
            tar.close()
            yield out.getvalue()
            made += 1
            if made == LAYERS:
                return
            out, held = io.BytesIO(), 0
            tar = tarfile.open(fileobj=out, mode="w")  # noqa: SIM115
    tar.close()
    yield out.getvalue()


def _files() -> Iterator[Path]:
    for source in SOURCES:
        for directory, _, names in os.walk(source):
            for name in sorted(names):
                path = Path(directory, name)
                if path.is_file() and not path.is_symlink() and path.stat().st_size < 32_000_000:
                    yield path


def measure_nsrun(registry: Registry, *, runs: int) -> float:
    """Median ms of ``nsrun pull`` into an empty store: a whole process, from its start to the unpacked layers."""
    return median([_pull_nsrun(registry.registries_conf()) for _ in range(runs)])


def _pull_nsrun(registries_conf: Path) -> float:
    with tempfile.TemporaryDirectory(dir="/run") as store:
        environment = {**os.environ, "NSRUN_ROOT": f"{store}/root", "NSRUN_RUN_DIR": f"{store}/run"}
        environment["NSRUN_REGISTRIES_CONF"] = str(registries_conf)
        before = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "nsrun", "pull", "-q", NAME],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return (time.monotonic() - before) * 1000


def measure_podman(registry: Registry, *, runs: int) -> float:
    """Median ms of ``podman pull`` of the same."""
    return median([_pull_podman(registry.host) for _ in range(runs)])


def _pull_podman(host: str) -> float:
    with tempfile.TemporaryDirectory(dir="/run") as store:
        podman = Podman(Path(store) / "podman")
        before = time.monotonic()
        podman.run("pull", "--quiet", "--tls-verify=false", f"{host}/library/bench:latest")
        took = (time.monotonic() - before) * 1000
        podman.run("system", "reset", "--force")
        return took
