"""What tests do as root of a user namespace: ``python -m tests.rootless.inside SCENE``. Words are JSON on standard
input, the answer is JSON on standard output."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import stat
import sys
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nsrun.errors import NsrunError
from nsrun.host.facts import probe
from nsrun.images.layers import Layers, read_rootfs_file
from nsrun.model.security import PodSecurityContext, Sysctl
from tests.system.runtime.world import SecurityContext, VolumeMount, World, unpack_busybox
from tests.waiting import eventually

REPO = Path(__file__).resolve().parent.parent.parent
TAR = "application/vnd.oci.image.layer.v1.tar"


def container(
    root: str,
    script: str,
    spec: Mapping[str, Any] | None = None,
    security: Mapping[str, Any] | None = None,
    pod_security: Mapping[str, Any] | None = None,
    mounts: Mapping[str, str] | None = None,
    upper: Mapping[str, str | None] | None = None,
) -> dict[str, object]:
    """Runs a script in a container of busybox. ``mounts``: host paths by where they are seen; ``upper``: a layer above
    busybox: contents by path, None for a whiteout."""
    return asyncio.run(
        _container(Path(root), script, dict(spec or {}), security or {}, pod_security or {}, mounts or {}, upper or {})
    )


async def _container(
    root: Path,
    script: str,
    spec: dict[str, Any],
    security: Mapping[str, Any],
    pod_security: Mapping[str, Any],
    mounts: Mapping[str, str],
    upper: Mapping[str, str | None],
) -> dict[str, object]:
    busybox, layer = root / "busybox", root / "layer"
    (root / "lib" / "layers").mkdir(parents=True, exist_ok=True)
    if not busybox.exists():
        busybox.mkdir()
        unpack_busybox(REPO / "build" / "images", busybox)
    _fill(layer, upper)
    facts = probe(root / "lib" / "layers")
    world = World(root=root, cgroup_root="nsrun-inside", busybox=busybox, facts=facts)
    names = {path: f"v{number}" for number, path in enumerate(mounts)}
    if pod_security:
        spec["security_context"] = _pod_security(**pod_security)
    answer: dict[str, object] = {"flavour": facts.overlay.flavour.name, "refused": facts.overlay.refused}
    try:
        code, output = await world.run(
            script,
            image=world.image(layer) if upper else None,
            volumes={names[path]: Path(source) for path, source in mounts.items()},
            spec=spec,
            security_context=SecurityContext(**security),
            volume_mounts=tuple(VolumeMount(name=name, mount_path=path) for path, name in names.items()),
        )
        answer |= {"code": code, "output": output}
    except NsrunError as error:
        answer |= {"error": error.message, "hint": error.hint}
    finally:
        await world.close()
    return answer | {"programs": _programs("fuse-overlayfs")}


def _pod_security(**fields: Any) -> PodSecurityContext:
    sysctls = tuple(Sysctl(name=name, value=value) for name, value in fields.pop("sysctls", ()))
    groups = tuple(fields.pop("supplemental_groups", ()))
    return PodSecurityContext(sysctls=sysctls, supplemental_groups=groups, **fields)


def _fill(layer: Path, content: Mapping[str, str | None]) -> None:
    for name, text in content.items():
        path = layer / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            os.mknod(path, stat.S_IFCHR, 0)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
            os.setxattr(path, "user.overlay.opaque", b"y")
        else:
            path.write_text(text)


def _programs(name: str) -> int:
    """How many run once their work is done, which they need not have noticed yet."""
    with suppress(AssertionError):
        eventually(lambda: not _running(name))
    return _running(name)


def _running(name: str) -> int:
    count = 0
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            count += path.read_text().strip() == name[:15] and path.stat().st_uid != 65534
        except OSError:
            continue
    return count


def unpack(root: str, entries: list[dict[str, Any]]) -> dict[str, object]:
    """Unpacks a layer of these entries: what is there then, or what is told."""
    blob, diff_id = _archive(Path(root), entries)
    layers = Layers(Path(root) / "layers")
    try:
        path = asyncio.run(layers.ensure(blob=blob, media_type=TAR, diff_id=diff_id))
    except NsrunError as error:
        return {"error": error.message, "hint": error.hint}
    return {"path": str(path), "found": {str(one.relative_to(path)): _seen(one) for one in sorted(path.rglob("*"))}}


def read(root: str, layers: list[str], path: str) -> str:
    """A file as a container of these layers, topmost first, would see it."""
    stage = Path(root) / "stage"
    stage.mkdir(exist_ok=True)
    return read_rootfs_file([Path(layer) for layer in layers], path, stage=stage, limit=1 << 16).decode()


def _archive(root: Path, entries: list[dict[str, Any]]) -> tuple[Path, str]:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry["name"])
            info.type = entry.get("type", "0").encode()
            info.uid, info.gid, info.mode = entry.get("uid", 0), entry.get("gid", 0), entry.get("mode", 0o644)
            info.linkname = entry.get("link", "")
            info.devmajor, info.devminor = entry.get("device", (0, 0))
            info.pax_headers = {f"SCHILY.xattr.{name}": text for name, text in entry.get("xattrs", {}).items()}
            content = entry.get("content", "").encode()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    digest = hashlib.sha256(memory.getvalue()).hexdigest()
    blob = root / digest
    blob.write_bytes(memory.getvalue())
    return blob, f"sha256:{digest}"


def _seen(path: Path) -> dict[str, object]:
    status = path.lstat()
    xattrs = {} if path.is_symlink() else {n: os.getxattr(path, n).hex() for n in os.listxattr(path)}
    return {
        "owner": [status.st_uid, status.st_gid],
        "mode": stat.S_IMODE(status.st_mode),
        "kind": stat.filemode(status.st_mode)[0],
        "device": [os.major(status.st_rdev), os.minor(status.st_rdev)],
        "xattrs": xattrs,
    }


SCENES: Mapping[str, Callable[..., object]] = {"container": container, "unpack": unpack, "read": read}

if __name__ == "__main__":
    print(json.dumps(SCENES[sys.argv[1]](**json.load(sys.stdin))))
