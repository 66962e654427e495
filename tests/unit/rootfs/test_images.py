"""The demo's images, as they were built."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path


def read(layout: Path, digest: str) -> dict[str, object]:
    data = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
    document = json.loads(data)
    assert isinstance(document, dict)
    return document


def test_images_are_named_and_whole(demo_images: Path) -> None:
    index = json.loads((demo_images / "index.json").read_bytes())
    names = {m["annotations"]["org.opencontainers.image.ref.name"]: m["digest"] for m in index["manifests"]}
    assert set(names) == {"docker.io/library/busybox:latest", "docker.io/library/nginx:latest"}
    for digest in names.values():
        manifest = json.loads(json.dumps(read(demo_images, digest)))
        config = json.loads(json.dumps(read(demo_images, manifest["config"]["digest"])))
        assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"])
    config = json.loads(json.dumps(read(demo_images, read_manifest(demo_images, names)["config"]["digest"])))["config"]
    assert config["Cmd"] == ["nginx", "-g", "daemon off;"]
    assert (config["StopSignal"], config["ExposedPorts"]) == ("SIGQUIT", {"80/tcp": {}})


def read_manifest(layout: Path, names: dict[str, str]) -> dict[str, dict[str, str]]:
    manifest: dict[str, dict[str, str]] = json.loads(json.dumps(read(layout, names["docker.io/library/nginx:latest"])))
    return manifest


def test_files_of_nginx(demo_images: Path) -> None:
    """The program, its page, its configuration without IPv6, and no path but below /usr for programs."""
    index = json.loads((demo_images / "index.json").read_bytes())
    names = {m["annotations"]["org.opencontainers.image.ref.name"]: m["digest"] for m in index["manifests"]}
    found: dict[str, tarfile.TarInfo] = {}
    for layer in json.loads(json.dumps(read_manifest(demo_images, names)["layers"])):
        with tarfile.open(demo_images / "blobs" / layer["digest"].replace(":", "/")) as archive:
            found |= {member.name: member for member in archive}
            if "etc/nginx/nginx.conf" in archive.getnames():
                content = archive.extractfile("etc/nginx/nginx.conf")
                assert content is not None
                configuration = content.read()
    assert {"usr/sbin/nginx", "usr/share/nginx/html/index.html", "usr/bin/dash", "etc/passwd"} <= found.keys()
    assert b"listen 80 default_server" in configuration
    assert b"[::]" not in configuration
    assert all(found[name].issym() for name in ("bin", "sbin", "lib", "lib64"))
    assert not [name for name in found if name.startswith(("bin/", "sbin/", "lib/", "lib64/"))]


def test_a_second_run_does_nothing(demo_images: Path, repo: Path) -> None:
    before = (demo_images / "index.json").stat().st_mtime_ns
    done = subprocess.run(
        [sys.executable, "rootfs/build.py", str(demo_images)], cwd=repo, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("is up to date (busybox, nginx)\n")
    assert (demo_images / "index.json").stat().st_mtime_ns == before


def test_unknown_recipes_are_refused(tmp_path: Path, repo: Path) -> None:
    done = subprocess.run(
        [sys.executable, "rootfs/build.py", str(tmp_path / "out"), "redis"],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "rootfs/build.py: error: no recipe for redis")
