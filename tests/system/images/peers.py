"""The trees that umoci and podman make of images of a registry; each image once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.podman import Podman
from tests.registry import Registry
from tests.system.images.trees import Tree, tree_of

__all__ = ["Peers"]


class Peers:
    """A context manager. ``registry`` has the images and is started, open, for as long as a peer pulls."""

    def __init__(self, base: Path, registry: Registry) -> None:
        self._base = base
        self._registry = registry
        self._podman = Podman(base / "podman")
        self._known: dict[tuple[str, str], Tree] = {}

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *_: object) -> None:
        self._podman.run("image", "umount", "--all", "--force")
        self._podman.run("system", "reset", "--force")

    def tree(self, peer: str, reference: str) -> Tree:
        """``peer``: umoci or podman."""
        if (peer, reference) not in self._known:
            host = self._registry.start()
            try:
                source = f"{host}/{reference.removeprefix('docker.io/')}"
                self._known[peer, reference] = self._of_umoci(source) if peer == "umoci" else self._of_podman(source)
            finally:
                self._registry.stop()
        return self._known[peer, reference]

    def _of_umoci(self, source: str) -> Tree:
        """umoci reads no zstd: skopeo makes gzip of it, which changes no file."""
        layout, bundle = self._base / "layout", self._base / "bundle"
        packing = ("--dest-compress", "--dest-compress-format=gzip", "--dest-compress-level=1")
        _run("skopeo", "copy", "-q", "--src-tls-verify=false", *packing, f"docker://{source}", f"oci:{layout}:image")
        _run("umoci", "unpack", "--image", f"{layout}:image", str(bundle))
        try:
            return tree_of(bundle / "rootfs")
        finally:
            shutil.rmtree(layout)
            shutil.rmtree(bundle)

    def _of_podman(self, source: str) -> Tree:
        self._podman.run("pull", "-q", "--tls-verify=false", source)
        root = self._podman.run("image", "mount", source).strip()
        return tree_of(Path(root))


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
