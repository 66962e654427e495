"""A supervisor over an imagined machine, for the tests of this directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from nsrun.model.container import Container, PullPolicy
from nsrun.model.pod import ObjectMeta, Pod, PodSpec, RestartPolicy
from nsrun.model.probe import Exec
from nsrun.model.status import Condition, ContainerStatus, Event, PodStatus
from nsrun.model.volume import EmptyDir, Volume, VolumeMount
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.counts import Counts
from nsrun.supervisor.supervisor import Supervisor, SupervisorSettings
from tests.contracts.fakes import (
    FakeImages,
    FakeMachine,
    FakeManifests,
    FakeNetwork,
    FakeProbes,
    FakeRuntime,
    FakeVolumes,
    Life,
)
from tests.contracts.virtualclock import VirtualClock

__all__ = ["Daemon", "World", "container", "hook", "pod", "sidecar"]


def container(
    name: str, script: str = "", *, image: str = "busybox", volumes: Sequence[str] = (), **more: Any
) -> Container:
    """``more``: fields of Container."""
    return Container(
        name=name,
        image=image,
        image_pull_policy=PullPolicy.IF_NOT_PRESENT,
        command=("/bin/sh", "-c", script) if script else None,
        volume_mounts=tuple(VolumeMount(name=v, mount_path=f"/{v}") for v in volumes),
        **more,
    )


def sidecar(name: str, script: str = "", **more: Any) -> Container:
    return container(name, script, restart_policy=RestartPolicy.ALWAYS, **more)


def hook(script: str) -> Exec:
    """A command in the words of ``program_of``."""
    return Exec(command=("/bin/sh", "-c", script))


def pod(
    name: str = "web",
    *containers: Container,
    uid: str = "",
    policy: RestartPolicy = RestartPolicy.ALWAYS,
    grace: int = 30,
    volumes: Sequence[str | Volume] = (),
    init: Sequence[Container] = (),
    labels: Mapping[str, str] | None = None,
    **more: Any,
) -> Pod:
    """``volumes``: emptyDirs by name, and others. ``more``: fields of PodSpec."""
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=uid or f"uid-{name}", labels=labels or {}),
        spec=PodSpec(
            containers=containers or (container("main"),),
            init_containers=tuple(init),
            volumes=tuple(Volume(name=v, source=EmptyDir()) if isinstance(v, str) else v for v in volumes),
            restart_policy=policy,
            termination_grace_period_seconds=grace,
            **more,
        ),
    )


class Diary(StatusBoard):
    """Remembers every event as it happened."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: list[Event] = []

    def record(self, event: Event) -> None:
        self.happened.append(event)
        super().record(event)


class Daemon:
    """One life of a supervisor."""

    def __init__(self, world: World, *, ends_at: int = 0, settings: SupervisorSettings | None = None) -> None:
        self.life = Life(world.machine, ends_at=ends_at)
        self.board = Diary()
        self.counts = Counts()
        self.ended = False
        self.supervisor = Supervisor(
            manifests=world.manifests,
            images=FakeImages(world.machine, self.life),
            volumes=FakeVolumes(world.machine, self.life),
            network=FakeNetwork(world.machine, self.life),
            runtime=FakeRuntime(world.machine, self.life),
            probes=FakeProbes(world.machine, self.life),
            board=self.board,
            clock=world.clock,
            settings=settings,
            counts=self.counts,
        )

    async def run(self) -> None:
        await self.supervisor.run()
        self.ended = True

    def status(self, pod: Pod) -> PodStatus:
        status = self.board.status(pod.uid)
        assert status is not None
        return status

    def container(self, pod: Pod, name: str = "main") -> ContainerStatus:
        status = self.status(pod)
        return next(c for c in (*status.init_container_statuses, *status.container_statuses) if c.name == name)

    def condition(self, pod: Pod, type: str) -> Condition:
        return next(c for c in self.status(pod).conditions if c.type == type)

    def said(self, reason: str) -> list[str]:
        """The messages of all events for this reason."""
        return [event.message for event in self.board.happened if event.reason == reason]

    def reasons(self, pod: Pod | None = None) -> list[str]:
        return [event.reason for event in self.board.happened if pod is None or event.uid == pod.uid]


class World:
    """Machine, manifests and time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.machine = FakeMachine(self.clock)
        self.manifests = FakeManifests()

    @asynccontextmanager
    async def daemon(self, *, ends_at: int = 0, settings: SupervisorSettings | None = None) -> AsyncIterator[Daemon]:
        """A supervisor that runs while the block does; at its end it is cut off, and the pods run on."""
        daemon = Daemon(self, ends_at=ends_at, settings=settings)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(daemon.run())
            try:
                await self.clock.settle()
                yield daemon
            finally:
                daemon.life.over.set()
                task.cancel()
