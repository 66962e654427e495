"""Pulling: from a registry on loopback into an empty store, until the rootfs is ready to be mounted.

``nsrun pull``, ``podman pull``, and ``skopeo copy`` with ``umoci unpack`` take turns, so that what else the machine
does meets them alike. With stores on a tmpfs it is the program that is measured; on a disk the whole, with what each of
them syncs by itself. Memory is looked at in a run of its own: looking takes time. Each begins when the processors have
nothing left to do of what came before it (kernel threads that write, reclaim memory and give it back to a hypervisor):
a program that uses all of them would pay for that more than one that does not.

What was pulled is removed by the caller, at the end: ext4 without a journal gives no inode away again for a minute (or
six), and looks at every one that was deleted meanwhile whenever it makes a file (``recently_deleted()`` in Linux'
``fs/ext4/ialloc.c``): whoever comes after a store of 100,000 files was removed would be measured looking.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, median
from bench.podman import Podman
from bench.processors import busy_seconds
from bench.program import pss_kib
from rootfs.pulling import PULL_RECIPES
from rootfs.recipes import ImageRecipe
from tests.registry import Registry

__all__ = ["MANY_FILES", "PYTHON", "Subject", "figures", "measure", "served"]

MEMORY_BAR = 150  # MB
TIME_BAR = 0.25
LOOK_EVERY = 0.02
AT_REST = 0.03
"""Share of the processors' time in a second that may be used."""
PATIENCE = 30
"""Seconds after which a machine counts as one that never rests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An image and how the table calls it."""

    recipe: ImageRecipe
    name: str

    @property
    def path(self) -> str:
        """Of the image in the registry."""
        return self.recipe.reference.removeprefix("docker.io/")


PYTHON = Subject(recipe=PULL_RECIPES["python"], name="344 MB in 8 layers")
MANY_FILES = Subject(recipe=PULL_RECIPES["many-files"], name="100,000 files in 2 layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Medians by program in ms; ``memory``: MB of all of nsrun's processes at their peak."""

    took: Mapping[str, float]
    memory: float
    runs: int


@contextmanager
def served(base: Path, layout: Path, subjects: Sequence[Subject]) -> Iterator[Registry | None]:
    """A registry with the images in it; None without the programs."""
    if not all(shutil.which(program) for program in ("docker-registry", "skopeo")):
        yield None
        return
    registry = Registry(base)
    registry.start()
    try:
        for subject in subjects:
            registry.push(layout, subject.recipe.reference)
        yield registry
    finally:
        registry.stop()


def measure(
    registry: Registry, subject: Subject, stores: Path, *, runs: int, peers: bool, leftover: ExitStack
) -> Measured:
    """``stores``: a directory on the file system that is to be measured. ``leftover``: removes what was pulled."""
    programs: dict[str, Pull] = {"nsrun": _nsrun}
    if peers and Podman.installed():
        programs["podman"] = _podman
    if peers and shutil.which("umoci"):
        programs["skopeo + umoci"] = _umoci
    took: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, pull in programs.items():
            took[name].append(_one(pull, registry, subject, stores, _timed, leftover))
    memory = _one(_nsrun, registry, subject, stores, _watched, leftover)
    return Measured(took={name: median(values) for name, values in took.items()}, memory=memory, runs=runs)


def figures(subject: Subject, where: str, measured: Measured) -> list[Figure]:
    """``where``: in words, for the table."""
    ours, peers = measured.took["nsrun"], {name: took for name, took in measured.took.items() if name != "nsrun"}
    what = f"pull of {subject.name}, stores on {where}"
    return [
        Figure(
            name=what,
            unit="ms",
            ours=ours,
            peers=peers,
            bar=f"≤ {TIME_BAR} × each",
            within=all(ours <= TIME_BAR * took for took in peers.values()) if peers else None,
            runs=measured.runs,
        ),
        Figure(
            name=f"{what}: memory",
            unit="MB",
            ours=measured.memory,
            bar=f"≤ {MEMORY_BAR} MB",
            within=measured.memory <= MEMORY_BAR,
        ),
    ]


Steps = Sequence[tuple[Sequence[str], Mapping[str, str]]]
"""Commands, one after the other, each with its environment."""
Pull = Callable[[Registry, Subject, Path], Steps]


def _nsrun(registry: Registry, subject: Subject, store: Path) -> Steps:
    environment = {
        **os.environ,
        "NSRUN_ROOT": str(store / "root"),
        "NSRUN_RUN_DIR": str(store / "run"),
        "NSRUN_REGISTRIES_CONF": str(registry.registries_conf()),
    }
    return [([sys.executable, "-m", "nsrun", "pull", "-q", subject.recipe.reference], environment)]


def _podman(registry: Registry, subject: Subject, store: Path) -> Steps:
    source = f"{registry.host}/{subject.path}"
    return [(["podman", "pull", "-q", "--tls-verify=false", source], Podman(store / "podman").environment)]


def _umoci(registry: Registry, subject: Subject, store: Path) -> Steps:
    source, image = f"docker://{registry.host}/{subject.path}", f"{store}/layout:image"
    return [
        (["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{image}"], os.environ),
        (["umoci", "unpack", "--image", image, f"{store}/bundle"], os.environ),
    ]


def _one(
    pull: Pull,
    registry: Registry,
    subject: Subject,
    stores: Path,
    how: Callable[[Steps], float],
    leftover: ExitStack,
) -> float:
    """One pull into a store of its own. What others have written is on the disk before it begins."""
    store = leftover.enter_context(tempfile.TemporaryDirectory(dir=stores))
    steps = pull(registry, subject, Path(store))
    if "CONTAINERS_STORAGE_CONF" in steps[0][1]:  # podman leaves a mount
        reset = ("podman", "system", "reset", "--force")
        leftover.callback(subprocess.run, reset, env=steps[0][1], check=True, capture_output=True)
    os.sync()
    _rest()
    return how(steps)


def _rest() -> None:
    """Wait until the machine has nothing to do."""
    for _ in range(PATIENCE):
        before = busy_seconds()
        time.sleep(1)
        if busy_seconds() - before <= AT_REST * (os.cpu_count() or 1):
            return


def _timed(steps: Steps) -> float:
    """Milliseconds."""
    before = time.monotonic()
    for argv, environment in steps:
        done = subprocess.run(argv, env=environment, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return (time.monotonic() - before) * 1000


def _watched(steps: Steps) -> float:
    """MB, as much as all processes together had at once: what they share counts once."""
    peak = 0
    for argv, environment in steps:
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ended = threading.Event()
        waiter = threading.Thread(target=lambda p=process, e=ended: (p.wait(), e.set()))
        waiter.start()
        while not ended.wait(LOOK_EVERY):
            peak = max(peak, pss_kib(_family(process.pid)))
        waiter.join()
        if process.returncode != 0:
            raise RuntimeError(f"{argv[0]} ended with {process.returncode}")
    return peak * 1024 / 1e6


def _family(pid: int) -> list[int]:
    """The process and all below it, as far as they are still there."""
    found, pending = list[int](), [pid]
    while pending:
        found.append(pending.pop())
        for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            try:
                pending += map(int, children.read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
