"""What nsrun makes of an image is what umoci and podman make of it: file by file, whatever way it came.

The images are those of ``rootfs/pulling.py``: real packages, sixty layers, 100,000 files. nsrun's layers are stacked by
overlay here, in the test's own mount namespace, as a container has them.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rootfs.pulling import PULL_RECIPES
from tests.registry import Registry
from tests.system.images.peers import Peers
from tests.system.images.trees import Facts, Tree, merged, tree_of

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("comparison"),  # the peers' work is done once
]

CREDENTIAL = ("user", "pass:word")
FORMS: Mapping[str, Callable[[Registry], str]] = {
    "plain": lambda registry: registry.start(),
    "tls": lambda registry: registry.start(tls=True),
    "htpasswd": lambda registry: registry.start(tls=True, htpasswd=CREDENTIAL),
    "tokens": lambda registry: registry.start(tokens=CREDENTIAL),
}
# What a form changes is the way, not the files: once is enough for the image that takes half a minute.
CASES = [(name, form) for name in sorted(PULL_RECIPES) for form in FORMS if name != "many-files" or form == "plain"]
HARMLESS = {os.makedev(1, 3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ByDesign:
    """A difference that shall be. ``applies``: to what nsrun has at a path and what the peer has; None is nothing."""

    reason: str
    applies: Callable[[Facts | None, Facts | None], bool]


def _is_dangerous_device(ours: Facts | None, theirs: Facts | None) -> bool:
    is_device = theirs is not None and stat.S_IFMT(theirs.mode) in (stat.S_IFBLK, stat.S_IFCHR)
    return ours is None and is_device and theirs is not None and theirs.device not in HARMLESS


def _lacks_trusted_attributes(ours: Facts | None, theirs: Facts | None) -> bool:
    if ours is None or theirs is None:
        return False
    kept = {name: value for name, value in theirs.xattrs.items() if not name.startswith("trusted.")}
    return kept != theirs.xattrs and ours == theirs.with_xattrs(kept)


def _is_before_1970(ours: Facts | None, theirs: Facts | None) -> bool:
    return ours is not None and theirs is not None and ours.mtime < 0 and replace(ours, mtime=0) == theirs


BY_DESIGN = (
    ByDesign(reason="a disk's node in an image is no way to the disk: nothing is there", applies=_is_dangerous_device),
    ByDesign(
        reason="podman knows no time before 1970; umoci does, and every file system here", applies=_is_before_1970
    ),
    ByDesign(reason="trusted.* is read by overlayfs and by the host's root", applies=_lacks_trusted_attributes),
)


@pytest.fixture(scope="module")
def images(repo: Path) -> Path:
    path = repo / "build" / "pull-images"
    if not (path / "index.json").is_file():
        pytest.skip(f"no images in {path}: ./dev test makes them")
    return path


@pytest.fixture(scope="module")
def ram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tmpfs: hundreds of thousands of files, and none is worth a disk's time."""
    path = tmp_path_factory.mktemp("ram")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700,nr_inodes=0", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.fixture(scope="module")
def stocked(images: Path, ram: Path, tool: Callable[[str], str]) -> Iterator[Registry]:
    """A registry that has all the images, stopped."""
    for program in ("docker-registry", "skopeo", "htpasswd", "openssl"):
        tool(program)
    registry = Registry(ram / "registry")
    registry.start()
    for recipe in PULL_RECIPES.values():
        registry.push(images, recipe.reference)
    registry.stop()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def peers(stocked: Registry, ram: Path, tool: Callable[[str], str]) -> Iterator[Peers]:
    for program in ("umoci", "podman"):
        tool(program)
    with Peers(ram / "peers", stocked) as made:
        yield made


@pytest.mark.parametrize(("name", "form"), CASES)
def test_files_are_those_of_umoci_and_podman(name: str, form: str, peers: Peers, stocked: Registry, ram: Path) -> None:
    reference = PULL_RECIPES[name].reference
    expected = {peer: peers.tree(peer, reference) for peer in ("umoci", "podman")}
    base = ram / f"{name}-{form}"
    base.mkdir()
    FORMS[form](stocked)
    try:
        layers = pulled(reference, stocked, base)
    finally:
        stocked.stop()
    with merged(layers, base / "merged") as root:
        ours = tree_of(root)
    shutil.rmtree(base)
    assert len(ours) > 100
    for peer, theirs in expected.items():
        found = differences(ours, theirs)
        assert found == [], f"{peer}: {len(found)} differences, first {found[:5]}"


def pulled(reference: str, registry: Registry, base: Path) -> list[Path]:
    """The directories of the image's layers, topmost first, after ``nsrun pull`` into a store of its own."""
    environment = {
        **os.environ,
        "NSRUN_ROOT": str(base / "root"),
        "NSRUN_RUN_DIR": str(base / "run"),
        "NSRUN_REGISTRIES_CONF": str(registry.registries_conf()),
    }
    if registry.credential is not None:
        environment["REGISTRY_AUTH_FILE"] = str(registry.auth_file())
    if registry.scheme == "https":
        environment["SSL_CERT_FILE"] = str(registry.authority)
    argv = [sys.executable, "-m", "nsrun", "pull", "-q", reference]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return unpacked_layers(base / "root", reference)


def unpacked_layers(root: Path, reference: str) -> list[Path]:
    """As docs/images.md says where they are kept."""
    images = root / "images"

    def read(digest: str) -> Any:
        return json.loads((images / "blobs" / digest.replace(":", "/")).read_bytes())

    index = json.loads((images / "index.json").read_bytes())
    name = "org.opencontainers.image.ref.name"
    (found,) = {m["digest"] for m in index["manifests"] if m["annotations"][name] == reference}
    diff_ids = read(read(found)["config"]["digest"])["rootfs"]["diff_ids"]
    return [root / "layers" / diff_id.replace(":", "/") / "diff" for diff_id in reversed(diff_ids)]


def differences(ours: Tree, theirs: Tree) -> list[str]:
    found = ((path, ours.get(path), theirs.get(path)) for path in sorted(ours.keys() | theirs.keys()))
    return [
        f"{path!r}: {mine.against(other) if mine is not None else f'nothing instead of {other}'}"
        for path, mine, other in found
        if mine != other and not any(row.applies(mine, other) for row in BY_DESIGN)
    ]


def test_every_difference_by_design_is_there(peers: Peers) -> None:
    """A row that nothing needs would hide a fault one day."""
    theirs = peers.tree("umoci", PULL_RECIPES["sixty-layers"].reference)
    facts = theirs["srv/layers/own59/trusted-attribute"]
    assert BY_DESIGN[0].applies(None, theirs["srv/layers/own59/disk"])
    assert not BY_DESIGN[0].applies(None, theirs["srv/layers/own59/null"])
    old = theirs["srv/layers/own59/before-the-epoch"]
    assert BY_DESIGN[1].applies(old, replace(old, mtime=0))
    assert not BY_DESIGN[1].applies(replace(old, mtime=0), old)
    assert BY_DESIGN[2].applies(facts.with_xattrs({}), facts)
    assert not BY_DESIGN[2].applies(facts, facts)
