"""One container: `crun run` and `runc run` of /bin/true, beside the shim's own launch (``bench/native``)."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

from bench.figures import median

__all__ = ["CGROUP", "measure_peer"]

CGROUP = "nsrun-bench-peer"


def measure_peer(name: str, base: Path, busybox: Path, *, runs: int, pause: float = 0.05) -> float | None:
    """Median ms of ``<name> run`` of a container that ends at once; None when the peer is not installed.

    ``busybox``: a static busybox. ``pause``: idle seconds between runs; without them RCU's slow paths stay hidden.
    """
    program = shutil.which(name)
    if program is None:
        return None
    bundle = base / name
    _make_bundle(program, bundle, busybox)
    times = []
    for number in range(runs + 1):
        time.sleep(pause)
        before = time.monotonic()
        subprocess.run(
            [program, "run", "--bundle", str(bundle), f"bench-{number}"], check=True, stdin=subprocess.DEVNULL
        )
        times.append((time.monotonic() - before) * 1000)
    return median(times[1:])


def _make_bundle(program: str, bundle: Path, busybox: Path) -> None:
    rootfs = bundle / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin" / "true")
    subprocess.run([program, "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/true"]
    config["linux"]["cgroupsPath"] = f"/{CGROUP}/{program.rpartition('/')[2]}"
    (bundle / "config.json").write_text(json.dumps(config))
