"""Runs in the machine after its plug was pulled: is what nsrun keeps whole? Nothing of nsrun's own code takes part.

    examine.py store           the images: every blob is what its name says, all that index.json names is there, and
                               every unpacked layer is, file by file, what its blob holds
    examine.py pods UID...     nothing of any other pod is left, and of each of these there is one of everything

Prints what is wrong, a line each; exit code 1 then.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Any

IMAGES = Path("/var/lib/nsrun/images")
LAYERS = Path("/var/lib/nsrun/layers")
PODS = Path("/var/lib/nsrun/pods")
RUN = Path("/run/nsrun")
LOGS = Path("/var/log/pods")
CGROUPS = Path("/sys/fs/cgroup/nsrun")

_WHITEOUT = ".wh."


def store() -> Iterator[str]:
    """What is wrong with the images. A machine that has none yet is fine."""
    blobs = IMAGES / "blobs/sha256"
    for blob in sorted(blobs.iterdir()) if blobs.is_dir() else ():
        if _digest(blob) != blob.name:
            yield f"blob {blob.name} is not what its name says"
    index = IMAGES / "index.json"
    if not index.is_file():
        return
    if json.loads((IMAGES / "oci-layout").read_text()) != {"imageLayoutVersion": "1.0.0"}:
        yield "oci-layout is another one"
    known: dict[str, Path] = {}
    for entry in json.loads(index.read_text())["manifests"]:
        name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name", entry["digest"])
        yield from (f"{name}: {problem}" for problem in _image(entry, known))
    for home in sorted((LAYERS / "sha256").glob("*")):
        if (home / "layer.json").is_file():
            if home.name in known and _is_on_disk(home / "layer.json"):
                yield from (f"layer {home.name[:12]}: {problem}" for problem in _layer(home / "diff", known[home.name]))
        elif home.is_dir():
            yield f"layer {home.name[:12]} has no layer.json"


def _is_on_disk(document: Path) -> bool:
    """Not when the plug came first: then it says another boot, or was itself not written, and the layer is none."""
    try:
        return bool(json.loads(document.read_text()).get("boot", _boot()) == _boot())
    except ValueError:
        return False


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _image(entry: dict[str, Any], known: dict[str, Path]) -> Iterator[str]:
    """Follows a manifest; remembers in ``known`` which blob each of its layers was unpacked from."""
    manifest = _document(entry)
    if manifest is None:
        yield f"manifest {entry['digest']} is missing or of another size"
        return
    config = _document(manifest["config"])
    if config is None:
        yield f"configuration {manifest['config']['digest']} is missing or of another size"
        return
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        blob = _blob(layer)
        if not blob.is_file() or blob.stat().st_size != layer["size"]:
            yield f"layer blob {layer['digest']} is missing or of another size"
        else:
            known[diff_id.partition(":")[2]] = blob


def _document(descriptor: dict[str, Any]) -> dict[str, Any] | None:
    blob = _blob(descriptor)
    if not blob.is_file() or blob.stat().st_size != descriptor["size"]:
        return None
    document = json.loads(blob.read_text())
    return document if isinstance(document, dict) else None


def _blob(descriptor: dict[str, Any]) -> Path:
    return IMAGES / "blobs" / str(descriptor["digest"]).replace(":", "/")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _layer(diff: Path, blob: Path) -> Iterator[str]:
    """Compares an unpacked layer with its blob, both ways."""
    there = {PurePosixPath(path).relative_to(diff).as_posix() for path in _walk(diff)}
    wanted: set[str] = set()
    with tarfile.open(blob, "r:*") as archive:
        members = {_clean(member.name): member for member in archive}
        for name, member in members.items():
            if name == "." or PurePosixPath(name).name.startswith(_WHITEOUT):
                continue
            wanted |= {name, *(parent.as_posix() for parent in PurePosixPath(name).parents)}
            if not _same(diff / name, member, archive):
                yield f"{name} is not what the blob holds"
    hidden = {_clean(member).replace(_WHITEOUT, "") for member in members if _WHITEOUT in member}
    yield from (f"{name} is in no blob" for name in sorted(there - wanted - hidden))


def _same(path: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if member.issym():
        return stat.S_ISLNK(status.st_mode) and os.readlink(path) == member.linkname
    if (status.st_uid, status.st_gid) != (member.uid, member.gid):
        return False
    if member.isdir():
        return stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == member.mode
    if member.isreg() or member.islnk():
        content = archive.extractfile(member)
        assert content is not None
        return stat.S_ISREG(status.st_mode) and path.read_bytes() == content.read()
    return True


def _clean(name: str) -> str:
    return os.path.normpath(name.lstrip("/"))


def _walk(top: Path) -> Iterator[str]:
    for directory, directories, files in os.walk(top):
        yield from (os.path.join(directory, name) for name in (*directories, *files))


def pods(uids: list[str]) -> Iterator[str]:
    """What is wrong with what pods own: each of these has one of everything, and nobody else has anything."""
    places = {
        "pod directory": [path.name for path in _listed(PODS)],
        "run directory": [path.name for path in _listed(RUN / "pods")],
        "log directory": [path.name.rpartition("_")[2] for path in _listed(LOGS)],
        "cgroup": [path.name.removeprefix("pod") for path in CGROUPS.rglob("pod*") if path.is_dir()],
        "lease": [uid for uid, _ in _leases()],
    }
    for what, found in places.items():
        yield from (f"{what} of {uid}, which is no pod" for uid in sorted(set(found) - set(uids)))
        yield from (f"{what} of {uid} is missing" for uid in sorted(set(uids) - set(found)))
        yield from (f"{what} of {uid} is there twice" for uid in sorted({uid for uid in found if found.count(uid) > 1}))
    addresses = [address for _, address in _leases()]
    yield from (f"address {a} is leased twice" for a in sorted({a for a in addresses if addresses.count(a) > 1}))
    for what, number in _counted().items():
        if number != len(uids):
            yield f"{number} {what} for {len(uids)} pods"


def _leases() -> list[tuple[str, str]]:
    """(UID, address); a file that is no lease raises."""
    found = []
    for path in _listed(RUN / "network/leases"):
        if path.name[:1].isdigit():
            document = json.loads(path.read_text())
            found.append((str(document["uid"]), str(IPv4Address(path.name))))
    return found


def _counted() -> dict[str, int]:
    return {
        "network namespaces": len(_said("ip", "netns", "list").splitlines()),
        "veths": len(re.findall(r"^\d+: nsr(?!un0)", _said("ip", "-o", "link"), re.MULTILINE)),
        "shims": len(_said("pidof", "nsrun-shim").split()),
    }


def _said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def _listed(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def main(arguments: list[str]) -> int:
    found = list(store() if arguments[0] == "store" else pods(arguments[1:]))
    print("\n".join(found[:40]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
