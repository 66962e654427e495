"""The commands that keep the store, beside a daemon that runs pods from it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Nsrun
from tests.layouts import ImageParts, LayoutBuilder, layer_tar, sha256

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

NGINX, BUSYBOX = "docker.io/library/nginx:latest", "docker.io/library/busybox:latest"


@pytest.fixture
def running(loaded: Nsrun) -> Nsrun:
    """A pod runs from busybox; nothing runs from nginx."""
    loaded.start()
    loaded.apply("runs.yaml", shell_pod("runs", "exec sleep 1000", restart="Always"))
    loaded.ready("runs")
    return loaded


def works(nsrun: Nsrun) -> bool:
    return nsrun.cli("exec", "runs", "--", "echo", "well").stdout == "well\n"


def takes(directory: Path) -> int:
    """Bytes on the disk, as du(1) counts them."""
    done = subprocess.run(["du", "-s", "--block-size=1", str(directory)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def named(nsrun: Nsrun) -> set[str]:
    return set(nsrun.cli("images", "-o", "name").stdout.split())


def layers_of(nsrun: Nsrun, name: str) -> list[str]:
    (image,) = json.loads(nsrun.cli("image", "inspect", name).stdout)
    return list(image["RootFS"]["Layers"])


def test_prune_leaves_what_runs(running: Nsrun) -> None:
    assert {BUSYBOX, NGINX} <= named(running)
    would = running.cli("prune", "--all", "--dry-run").stdout
    assert f"Would untag: {NGINX}" in would
    assert BUSYBOX not in would
    assert {BUSYBOX, NGINX} <= named(running)
    refused = running.cli("image", "prune", "--all", check=False)
    assert refused.returncode != 0, "nobody is there to say yes"
    assert {BUSYBOX, NGINX} <= named(running)
    before = takes(running.root / "images") + takes(running.root / "layers")
    said = running.cli("image", "prune", "--all", "--force", "-o", "json", check=False)
    assert said.returncode == 2, "there is no such flag"
    said = running.cli("image", "prune", "--all", "--force")
    assert f"Untagged: {NGINX}" in said.stdout
    assert named(running) == {BUSYBOX}
    freed = before - takes(running.root / "images") - takes(running.root / "layers")
    assert said.stdout.splitlines()[-1].startswith("Total reclaimed space: ")
    assert would.splitlines()[-1].rpartition(": ")[2] == said.stdout.splitlines()[-1].rpartition(": ")[2]
    assert freed == pytest.approx(megabytes(said.stdout), rel=0.02)
    assert works(running)
    assert running.cli("store", "check").stdout == ""


def megabytes(said: str) -> float:
    text = said.strip().rpartition(": ")[2]
    return float(text.removesuffix("MB")) * 1e6


def test_rmi_says_what_it_cannot(running: Nsrun) -> None:
    done = running.cli("rmi", "nginx", "nosuch", "busybox", check=False)
    assert done.returncode == 1
    assert f"Untagged: {NGINX}" in done.stdout
    assert 'cannot remove image "nosuch": there is no such image' in done.stderr
    assert f'cannot remove image "{BUSYBOX}": a container runs from it' in done.stderr
    assert "stop its pod first" in done.stderr
    assert running.cli("rmi", "--ignore", "nosuch").stdout == ""
    assert running.cli("rmi", check=False).returncode == 2
    assert running.cli("rmi", "--all", "nginx", check=False).returncode == 2
    assert named(running) == {BUSYBOX}
    forced = running.cli("rmi", "--all", "--force")
    assert forced.stdout == f"Untagged: {BUSYBOX}\n", "the container needs its content"
    assert named(running) == set()
    assert works(running)
    running.manifests.joinpath("runs.yaml").unlink()
    running.gone("runs")
    assert "Deleted: " in running.cli("prune", "--force").stdout
    assert list((running.root / "layers/sha256").iterdir()) == []


def test_several_names_of_one_image(running: Nsrun) -> None:
    running.cli("tag", "nginx", "other:1")
    (image,) = json.loads(running.cli("image", "inspect", "nginx").stdout)
    id = image["Id"].partition(":")[2][:12]
    refused = running.cli("rmi", id, check=False)
    assert f'cannot remove image "{id}": it has 2 names' in refused.stderr
    assert running.cli("rmi", "other:1").stdout == "Untagged: docker.io/library/other:1\n"
    assert works(running)
    done = running.cli("rmi", id)
    assert f"Untagged: {NGINX}" in done.stdout
    assert "Total reclaimed space: " in done.stdout


def test_the_store_is_checked_and_repaired(running: Nsrun) -> None:
    assert running.cli("store", "check").stdout == ""
    used = running.root / "layers" / layers_of(running, "busybox")[0].replace(":", "/") / "diff"
    free = running.root / "layers" / layers_of(running, "nginx")[0].replace(":", "/") / "diff"
    (used / "more").write_text("x")
    (free / "more").write_text("x")
    assert running.cli("store", "check", "--quick").stdout == ""
    found = running.cli("store", "check", check=False)
    assert found.returncode == 1
    assert found.stdout.count('"/more" should not be there') == 2
    done = running.cli("store", "check", "--repair", check=False)
    assert done.returncode == 1
    assert "a container runs from it: stop its pod, then repair again" in done.stdout
    assert used.exists()
    assert not free.exists()
    assert works(running)
    running.manifests.joinpath("runs.yaml").unlink()
    running.gone("runs")
    assert running.cli("store", "check", "--repair").returncode == 0
    running.apply("runs.yaml", shell_pod("runs", "exec sleep 1000", restart="Always"))
    running.apply("nginx.yaml", shell_pod("again", "exec true", restart="Never"))
    running.ready("runs")
    assert works(running)
    findings = json.loads(running.cli("store", "check", "-o", "json").stdout)
    assert findings == {"findings": []}


def test_what_the_disk_holds(running: Nsrun, tmp_path: Path) -> None:
    base = layer_tar({"shared": b"x" * 300_000})
    source = LayoutBuilder(tmp_path / "pair")
    for name in ("one", "two"):
        source.image(name, ImageParts.make([base, layer_tar({name: name.encode() * 1000})]))
    running.cli("load", str(source.path))
    tree = running.cli("images", "--tree").stdout.splitlines()
    base_line = next(line for line in tree if line.startswith(sha256(base).partition(":")[2][:12]))
    assert "300kB unpacked, shared by 2 images" in base_line
    below = tree[tree.index(base_line) + 1 :]
    assert [line.partition("docker.io")[2] for line in below[:4] if "docker.io" in line] == [
        "/library/one:latest",
        "/library/two:latest",
    ]
    found = json.loads(running.cli("store", "df", "-o", "json").stdout)
    totals = {row["type"]: row for row in found["totals"]}
    assert (totals["images"]["total"], totals["images"]["active"]) == (len(named(running)), 1)
    assert totals["layers"]["size"] == totals["layers"]["reclaimable"] + unpacked(running, "busybox")
    assert totals["unneeded"]["size"] == 0
    single = {row["image"]: row for row in found["images"]}
    one = single["docker.io/library/one:latest"]
    assert one["shared"] >= 300_000
    assert one["unique"] < 10_000
    assert single[BUSYBOX]["active"] == 1
    table = running.cli("store", "df", "-v").stdout
    assert "RECLAIMABLE" in table
    assert "UNIQUE SIZE" in table


def unpacked(nsrun: Nsrun, name: str) -> int:
    (diff_id,) = layers_of(nsrun, name)
    document = json.loads((nsrun.root / "layers" / diff_id.replace(":", "/") / "layer.json").read_text())
    return int(document["size"])
