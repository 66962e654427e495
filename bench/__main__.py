"""``./dev bench``: measures nsrun and its peers in one run and prints the table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import containers, images, look, pods, probes, rootless, world
from bench.figures import Figure, save, table
from bench.podman import Podman
from bench.program import CGROUP, running

REPO = Path(__file__).resolve().parent.parent
PARTS = ("all", "images", "look", "probes", "rootless")


def main() -> None:
    """Parses the arguments, enters the bench's world, measures, prints."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, default="all", help="what is measured (all)")
    parser.add_argument("--runs", type=int, default=11, help="how often each single thing is measured (11)")
    parser.add_argument("--pods", type=int, default=100, help="how many pods are dropped at once (100)")
    parser.add_argument("--no-peers", action="store_true", help="measure nsrun alone")
    parser.add_argument("--probed", type=int, default=200, help="how many pods are probed (200)")
    parser.add_argument("--seconds", type=float, default=30, help="for how long probes are watched (30)")
    options = parser.parse_args()
    world.enter()
    with tempfile.TemporaryDirectory(prefix="nsrun-bench-") as directory:
        try:
            found = _parts(Path(directory), options)
        finally:
            world.remove_cgroups(CGROUP, containers.CGROUP, *Podman.CGROUPS)
    print(table(found))
    if options.part == "all":
        save(found, REPO / "build" / "bench.json")


def _parts(base: Path, options: argparse.Namespace) -> list[Figure]:
    """The peers come last: for them the machine must look different afterwards."""
    peers = not options.no_peers
    if options.part == "images":
        return _images(base, min(options.runs, 5), peers=peers)
    found: list[Figure] = []
    looked: dict[str, float] = {}
    if options.part in ("all", "rootless"):
        found += _rootless(base, options.runs, min(options.pods, 20), peers=peers)
    if options.part in ("all", "probes"):
        found += _probes(base, options.probed, options.seconds)
    if options.part in ("all", "look"):
        _say("looking inside, with nsrun")
        looked = look.measure_nsrun(base / "look", REPO / "build" / "images", runs=options.runs)
    if options.part == "all":
        found = [*_measure(base, options.runs, options.pods, peers=peers), *found]
    if looked:
        found += look.figures(looked, _podman_look(base, options.runs) if peers else {}, runs=options.runs)
    return found


def _rootless(base: Path, runs: int, crowd: int, *, peers: bool) -> list[Figure]:
    _say("an unprivileged user")
    found = rootless.measure(base / "rootless", runs=runs, crowd=crowd, seconds=5, peers=peers)
    return rootless.figures(found, runs=runs, crowd=crowd)


def _podman_look(base: Path, runs: int) -> dict[str, float]:
    if not Podman.installed():
        return {}
    _say("looking inside, with podman")
    world.hide_unified()
    podman = Podman(base / "podman-look")
    podman.load(REPO / "build" / "images", "docker.io/library/busybox:latest")
    return look.measure_podman(podman, base / "look-peer", runs=runs)


def _measure(base: Path, runs: int, crowd: int, *, peers: bool) -> list[Figure]:
    """nsrun first: for the peers the machine must look different afterwards."""
    _say("one container")
    launch = _launch(max(runs, 40))
    _say(f"pods with nsrun ({crowd} at once)")
    with running(base / "nsrun", REPO / "build" / "images") as program:
        ours = pods.measure_nsrun(program, runs=runs, crowd=crowd)
    started: dict[str, float] = {}
    theirs: dict[str, float] = {}
    if peers:
        world.hide_unified()
        started = _peers_start(base, runs)
        theirs = _podman(base, runs, crowd)
    return [
        _one_container(launch, started, runs),
        *pods.figures(ours, theirs, runs=runs, crowd=crowd),
        *_pulls(base, [(images.PYTHON, "tmpfs", Path("/run"))], min(runs, 3), peers=peers),
    ]


def _probes(base: Path, count: int, seconds: float) -> list[Figure]:
    _say(f"probes of {count} pods, each with a command and a request every second")
    found = probes.measure(base / "probes", REPO / "build" / "images", pods=count, seconds=seconds)
    return probes.figures(found, pods=count)


def _images(base: Path, runs: int, *, peers: bool) -> list[Figure]:
    """Both images, on both kinds of file systems."""
    if peers:
        world.hide_unified()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=REPO / "build") as disk:
        places = (("tmpfs", Path("/run")), ("disk", Path(disk)))
        subjects = (images.PYTHON, images.MANY_FILES)
        wanted = [(subject, where, stores) for subject in subjects for where, stores in places]
        return _pulls(base, wanted, runs, peers=peers)


def _pulls(base: Path, wanted: list[tuple[images.Subject, str, Path]], runs: int, *, peers: bool) -> list[Figure]:
    """``wanted``: image, where the stores are in a word, and the directory for them."""
    found: list[Figure] = []
    subjects = list({subject.name: subject for subject, _, _ in wanted}.values())
    with (
        images.served(base / "images", REPO / "build" / "pull-images", subjects) as registry,
        ExitStack() as at_the_end,
    ):
        for subject, where, stores in wanted if registry is not None else ():
            assert registry is not None
            _say(f"pull of {subject.name}, stores on {where}")
            with ExitStack() as leftover:
                measured = images.measure(registry, subject, stores, runs=runs, peers=peers, leftover=leftover)
                if where == "disk":
                    at_the_end.push(leftover.pop_all())
            rows = images.figures(subject, where, measured)
            for row in rows:  # the next takes minutes
                _say(str(row))
            found += rows
    return found


def _peers_start(base: Path, runs: int) -> dict[str, float]:
    _say("one container with crun and runc")
    measured = {
        name: containers.measure_peer(name, base, Path("/usr/bin/busybox"), runs=runs) for name in ("crun", "runc")
    }
    return {name: took for name, took in measured.items() if took is not None}


def _podman(base: Path, runs: int, crowd: int) -> dict[str, float]:
    if not Podman.installed():
        return {}
    _say(f"pods with podman ({crowd} at once; minutes)")
    podman = Podman(base / "podman")
    for image in ("nginx", "busybox"):
        podman.load(REPO / "build" / "images", f"docker.io/library/{image}:latest")
    return pods.measure_podman(podman, base, runs=min(runs, 5), crowd=crowd)


def _one_container(launch: dict[str, float], peers: dict[str, float], runs: int) -> Figure:
    ours, bare = launch["shim_us"] / 1000, launch["bare_us"] / 1000
    return Figure(
        name="one container in a ready sandbox: plan sent → exec",
        unit="ms",
        ours=ours,
        peers={"bare C": bare, **peers},
        bar="≤ 2 × bare C",
        within=ours <= 2 * bare,
        runs=runs,
    )


def _launch(count: int) -> dict[str, float]:
    """The shim's launch and the bare program's, in a world of their own."""
    script = REPO / "bench" / "native" / "launch_bench.py"
    environment = {name: value for name, value in os.environ.items() if name != world.INSIDE}
    argv = [sys.executable, str(script), "--json", "--count", str(count)]
    found: dict[str, float] = json.loads(subprocess.check_output(argv, env=environment))
    return found


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


main()
