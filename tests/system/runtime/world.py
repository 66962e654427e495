"""A machine for one test: the engine over a layout, cgroups and a network namespace of the test's own, and busybox."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nsrun.host.cgroups import CgroupMode, CgroupSetup
from nsrun.host.facts import HostFacts, probe
from nsrun.model.container import Container, EnvVar, PullPolicy, SecurityContext
from nsrun.model.image import Image, ImageConfig
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.resources import ResourceRequirements
from nsrun.model.running import (
    AdoptedPod,
    Attachment,
    ContainerExit,
    ContainerId,
    ContainerRequest,
    Exit,
    PreparedVolume,
    RunningContainer,
    SandboxExit,
    SandboxInfo,
)
from nsrun.model.security import AppArmorProfile, ProfileType
from nsrun.model.volume import VolumeMount
from nsrun.runtime.cgroup_open import open_cgroups
from nsrun.runtime.cgroups import Cgroups
from nsrun.runtime.engine import Engine
from nsrun.runtime.seccomp import Seccomp
from nsrun.support import native
from nsrun.support.clock import SystemClock
from nsrun.support.crilog import parse_line
from nsrun.support.idranges import IdRanges
from nsrun.support.layout import Layout

# For who tries what he can do by mounting: the default profile lets nobody mount at all.
NO_APP_ARMOR = AppArmorProfile(type=ProfileType.UNCONFINED)

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def unpack_busybox(images: Path, target: Path) -> None:
    """The busybox layer of the demo's images, which the tests' own tools made."""
    index = json.loads((images / "index.json").read_text())
    for manifest in index["manifests"]:
        if "busybox" in manifest["annotations"]["org.opencontainers.image.ref.name"]:
            content = json.loads(_blob(images, manifest["digest"]))
            for layer in content["layers"]:
                with tarfile.open(fileobj=io.BytesIO(_blob(images, layer["digest"]))) as archive:
                    archive.extractall(target)


def _blob(images: Path, digest: str) -> bytes:
    return (images / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


WITHOUT = "without cgroups"
with_and_without_cgroups = pytest.mark.parametrize("world", ["with cgroups", WITHOUT], indirect=True)
"""The test runs in both worlds."""


def without_cgroups() -> HostFacts:
    """A machine like this that mounts no cgroup hierarchy."""
    return replace(probe(), cgroups=CgroupSetup(mode=CgroupMode.NONE))


def container(name: str, *command: str, **fields: object) -> Container:
    """A container that runs a command of busybox."""
    return Container(
        name=name,
        image="busybox",
        image_pull_policy=PullPolicy.NEVER,
        command=command or None,
        **fields,  # type: ignore[arg-type]
    )


def shell(name: str, script: str, **fields: object) -> Container:
    """A container that runs a shell script."""
    return container(name, "/bin/sh", "-c", script, **fields)


def pod(*containers: Container, name: str = "web", uid: str = "", **spec: Any) -> Pod:
    """A pod. ``spec``: more of its fields."""
    metadata = ObjectMeta(name=name, namespace="default", uid=uid or f"uid-{name}")
    return Pod(metadata=metadata, spec=PodSpec(containers=containers, **spec))


def group(name: str = "busybox", **config: object) -> ImageConfig:
    """An image's configuration."""
    return ImageConfig(env=(PATH,), **config)  # type: ignore[arg-type]


class World:
    """The parts, and shorthands for what tests do with them. ``layers``: of the image, topmost first."""

    def __init__(self, *, root: Path, cgroup_root: str, busybox: Path, facts: HostFacts | None = None) -> None:
        self.layout = Layout(root=root / "lib", run_dir=root / "run", log_dir=root / "log", netns_dir=root / "netns")
        self.root = root
        self.cgroup_root = cgroup_root
        self.facts: HostFacts = facts if facts is not None else probe()
        self.cgroups: Cgroups = open_cgroups(self.facts, cgroup_root)
        self.engine = self.new_engine()
        self.busybox = busybox
        self.seen: list[ContainerExit | SandboxExit] = []
        self._ends = self.engine.exits()

    def new_engine(self) -> Engine:
        """Another supervisor's, over the same machine."""
        return Engine(
            layout=self.layout,
            cgroups=self.cgroups,
            seccomp=Seccomp(self.layout.cache),
            facts=self.facts,
            clock=SystemClock(),
        )

    async def restart(self) -> Sequence[AdoptedPod]:
        """As after ``kill -9`` of the supervisor: a new engine that knows nothing."""
        for sandbox in self.engine._sandboxes.values():
            sandbox.shim.close()
        self.engine = self.new_engine()
        self._ends = self.engine.exits()
        self.seen = []
        return await self.engine.adopt()

    def attachment(self, pod: Pod) -> Attachment:
        """A network namespace with nothing but its loopback; or the host's."""
        if pod.spec.host_network:
            return Attachment(netns="", address="", gateway="", host_ip="127.0.0.1", hostname=os.uname().nodename)
        path = self.layout.netns(pod.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch()
            ids = None
            if not pod.spec.host_users:
                held = IdRanges(self.layout.id_ranges).acquire(pod.uid)
                ids = (held.first, held.count)
            netns, netlink = native.netns_create(str(path), ids=ids)
            netns.close()
            netlink.close()
        return Attachment(netns=str(path), address="10.0.0.2", gateway="10.0.0.1", host_ip="127.0.0.1")

    def image(self, *extra_layers: Path, passwd: bytes = b"", group: bytes = b"", **config: object) -> Image:
        """busybox below ``extra_layers``."""
        settings: dict[str, object] = {"env": (PATH,), **config}
        return Image(
            reference="docker.io/library/busybox:latest",
            digest="sha256:" + "1" * 64,
            config_digest="sha256:" + "2" * 64,
            config=ImageConfig(**settings),  # type: ignore[arg-type]
            layers=(*(str(layer) for layer in extra_layers), str(self.busybox)),
            size=1,
            passwd=passwd or (self.busybox / "etc/passwd").read_bytes(),
            group=group or (self.busybox / "etc/group").read_bytes(),
        )

    async def start_sandbox(self, pod: Pod) -> SandboxInfo:
        document: Mapping[str, object] = {"metadata": {"name": pod.metadata.name}}
        return await self.engine.start_sandbox(pod, self.attachment(pod), document)

    def request(
        self,
        pod: Pod,
        name: str,
        *,
        image: Image | None = None,
        attempt: int = 0,
        volumes: Mapping[str, Path | PreparedVolume] | None = None,
    ) -> ContainerRequest:
        prepared = {
            key: given if isinstance(given, PreparedVolume) else PreparedVolume(name=key, path=str(given))
            for key, given in (volumes or {}).items()
        }
        return ContainerRequest(
            id=ContainerId(uid=pod.uid, name=name, attempt=attempt),
            pod=pod,
            container=pod.container(name),
            image=image or self.image(),
            attachment=self.attachment(pod),
            volumes=prepared,
        )

    async def start(
        self,
        pod: Pod,
        name: str = "main",
        *,
        image: Image | None = None,
        attempt: int = 0,
        volumes: Mapping[str, Path | PreparedVolume] | None = None,
    ) -> RunningContainer:
        """The sandbox too, when it does not run yet."""
        await self.start_sandbox(pod)
        request = self.request(pod, name, image=image, attempt=attempt, volumes=volumes)
        return await self.engine.start_container(request)

    async def end(self, id: ContainerId) -> Exit:
        """Waits for a container's end."""
        while True:
            for told in self.seen:
                if isinstance(told, ContainerExit) and told.id == id:
                    return told.exit
            self.seen.append(await anext(self._ends))

    async def sandbox_end(self, uid: str) -> SandboxExit:
        """Waits for a sandbox's end."""
        while True:
            for told in self.seen:
                if isinstance(told, SandboxExit) and told.uid == uid:
                    return told
            self.seen.append(await anext(self._ends))

    def output(self, pod: Pod, id: ContainerId) -> str:
        """What the container wrote so far, both streams."""
        path = self.layout.container_log(pod.name, id.uid, id.name, id.attempt)
        records = [parse_line(line) for line in path.read_bytes().splitlines()]
        return "".join(
            record.content.decode("utf-8", "replace") + ("" if record.partial else "\n") for record in records
        )

    async def run(
        self,
        script: str,
        *,
        image: Image | None = None,
        volumes: Mapping[str, Path | PreparedVolume] | None = None,
        spec: Mapping[str, Any] | None = None,
        **fields: object,
    ) -> tuple[int, str]:
        """Runs a script in a container of a fresh pod: its exit code and its output. The pod is removed. ``spec``: more
        fields of the pod, ``fields``: of the container."""
        one = pod(
            shell("main", script, **fields),
            name=f"p{len(os.listdir(self.layout.run_pods)) if self.layout.run_pods.exists() else 0}",
            **(spec or {}),
        )
        started = await self.start(one, image=image, volumes=volumes)
        end = await self.end(started.id)
        output = self.output(one, started.id)
        await self.engine.remove_sandbox(one.name, one.uid)
        self.seen.clear()
        for path in sorted(self.layout.pod_log(one.name, one.uid).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        return end.code, output

    async def close(self) -> None:
        """Removes every pod."""
        for uid in list(self.engine._sandboxes):
            await self.engine.remove_sandbox(None, uid)
        for uid in self.cgroups.owners():
            await self.engine.remove_sandbox(None, uid)
        for path in self.layout.netns_dir.glob("*"):
            native.umount(str(path), native.MNT_DETACH)
            path.unlink()


__all__ = [
    "NO_APP_ARMOR",
    "WITHOUT",
    "EnvVar",
    "ResourceRequirements",
    "SecurityContext",
    "VolumeMount",
    "World",
    "container",
    "group",
    "pod",
    "shell",
    "unpack_busybox",
    "with_and_without_cgroups",
    "without_cgroups",
]
