"""A machine that is only imagined: what stands on it survives the supervisor, as on a real one.

``FakeMachine`` is the machine. ``Life`` is one supervisor's time on it: every call passes its ``at`` before, between
and after its effects, and there a life can be made to end as ``kill -9`` would end it. The fakes of the mechanisms act
on the machine on behalf of a life. They pass the contract tests that the real mechanisms pass.

What must never happen (two runs of one container, a run in a dead sandbox, an exit nobody was told …) is noted in
``violations``.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nsrun.errors import ImageError, LaunchError, NetworkError, NsrunError, RuntimeFailure, VolumeError
from nsrun.model.container import Container, PullPolicy
from nsrun.model.credentials import Credentials
from nsrun.model.figures import ContainerDisk, DiskUse, Figures, Filesystem, NetworkFigures
from nsrun.model.image import Image, ImageConfig
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.probe import HttpGet, NetworkCheck
from nsrun.model.volume import ConfigMapVolume, EmptyDir, ImageVolume, SecretVolume, Volume
from nsrun.supervisor.ports import (
    AdoptedContainer,
    AdoptedPod,
    Attachment,
    CheckResult,
    Command,
    CommandResult,
    ContainerExit,
    ContainerId,
    ContainerRequest,
    Exit,
    ExitReason,
    ImageRetention,
    PreparedVolume,
    Reclaimed,
    RunningContainer,
    SandboxExit,
    SandboxInfo,
    SessionRequest,
    SourceUpdate,
)
from nsrun.support.layout import PodName
from tests.contracts.fakefigures import fake_figures, fake_filesystem, fake_interface
from tests.contracts.fakesession import FakeSession
from tests.contracts.virtualclock import VirtualClock

__all__ = [
    "FakeImages",
    "FakeMachine",
    "FakeManifests",
    "FakeNetwork",
    "FakeProbes",
    "FakeRuntime",
    "FakeVolumes",
    "Life",
    "Program",
    "fake_image",
    "program_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a process does: ends by itself after ``seconds`` (None: never) with ``code``; ends at SIGTERM with ``asked``
    or, ``stubborn``, does not; it ``takes`` seconds to. ``broken``: it cannot be executed at all."""

    seconds: float | None = None
    code: int = 0
    asked: int = 143
    stubborn: bool = False
    takes: float = 0.0
    broken: bool = False


def program_of(container: Container) -> Program:
    """Reads the shell lines of the tests: ``exit 3``, ``sleep 5; exit 3``, ``trap '' TERM; …``, ``trap 'exit 7' …``."""
    return program_of_words([*(container.command or ()), *(container.args or ())])


def program_of_words(words: Sequence[str]) -> Program:
    """The same of a command line."""
    text = words[-1] if words else ""
    trapped = re.search(r"trap '(?:exit (\d+))?' TERM; ", text)
    text = text.removeprefix(trapped[0]) if trapped else text
    slept = re.search(r"sleep (\d+)", text)
    ended = re.search(r"exit (\d+)", text)
    seconds = float(slept[1]) if slept else (0.0 if ended else None)
    return Program(
        seconds=seconds,
        code=int(ended[1]) if ended else 0,
        asked=int(trapped[1]) if trapped and trapped[1] else 143,
        stubborn=trapped is not None and not trapped[1],
        broken=text.startswith("/nonexistent"),
    )


@dataclass(slots=True, kw_only=True)
class FakeRun:
    """One process, or what is recorded of it."""

    id: ContainerId
    pid: int
    started_at: float
    image: Image
    program: Program
    container: Container | None = None
    exit: Exit | None = None
    told: bool = False
    sessions: list[FakeSession] = field(default_factory=list)  # every one there ever was

    @property
    def running(self) -> RunningContainer:
        return RunningContainer(id=self.id, hash=f"{self.pid:064x}", pid=self.pid, started_at=self.started_at)


@dataclass(slots=True, kw_only=True)
class FakePod:
    """A run directory. ``sandbox`` None: the sandbox died."""

    document: Mapping[str, object] | None
    sandbox: SandboxInfo | None = None
    runs: dict[ContainerId, FakeRun] = field(default_factory=dict)


class Life:
    """One supervisor's time on the machine. ``ends_at``: the number of the point at which it is killed; 0: never."""

    def __init__(self, machine: FakeMachine, *, ends_at: int = 0) -> None:
        self.machine = machine
        self.ends_at = ends_at
        self.points = 0
        self.over = asyncio.Event()
        self.told: asyncio.Queue[ContainerExit | SandboxExit] = asyncio.Queue()
        machine.lives.append(self)

    async def at(self, what: str) -> None:
        """A point at which others run, and at which this life may end: then nothing it waits for ever comes."""
        await asyncio.sleep(0)
        if not self.over.is_set():
            self.points += 1
            if self.points == self.ends_at:
                self.over.set()
        if self.over.is_set():
            await asyncio.get_running_loop().create_future()
        self.machine.calls.append(what)
        reached = self.machine.reached.get(what)
        if reached is not None:
            reached()
        if what in self.machine.slow:
            await self.machine.clock.sleep(self.machine.slow[what])
        failure = self.machine.failures.get(what)
        if failure:
            raise failure.pop(0)


class FakeMachine:
    """All that outlives a supervisor."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.answers: dict[int | str, CheckResult | NsrunError] = {}  # by port: what is said there; absent: refused
        self.asked: list[NetworkCheck] = []  # everything that probes and hooks asked over the network
        self.commands: list[tuple[ContainerId, tuple[str, ...]]] = []  # everything that was run in containers
        self.written: dict[str, dict[str, int]] = {}  # bytes, by UID and volume or container
        self.refreshed: list[str] = []  # UIDs, one for each refresh of volumes
        self.disk_used = 0  # percent, by images
        self.claims: set[tuple[str, str]] = set()  # persistent claims that have a directory
        self.lives: list[Life] = []
        self.calls: list[str] = []
        self.failures: dict[str, list[NsrunError | Exception]] = {}  # by point, in order
        self.reached: dict[str, Callable[[], object]] = {}  # what else happens at a point
        self.slow: dict[str, float] = {}  # how long a point takes
        self.withheld: tuple[str, ...] = ()
        self.violations: list[str] = []
        self.images: dict[str, Image] = {}  # what the store holds
        self.registry: dict[str, Image | ImageError] = {}  # what can be pulled; absent: everything can
        self.private: dict[str, tuple[str, str]] = {}  # who may pull it: user and password; absent: everybody
        self.pull_seconds = 0.0
        self.attached: dict[str, tuple[PodName, bool]] = {}  # by UID; True when complete
        self.addresses: dict[str, str] = {}  # ever leased, by UID
        self.bridge = False
        self.listening: dict[tuple[PodName, int], list[socket.socket]] = {}  # by port: the far ends of connections
        self.volumes: dict[str, set[str]] = {}  # by UID
        self.pods: dict[str, FakePod] = {}  # by UID
        self.logs: dict[tuple[str, str], set[int]] = {}  # the attempts that left a log
        self.logged: dict[str, PodName] = {}  # whose name the logs' directory tells
        self.being_started: list[str] = []  # UIDs, one for each start under way
        self.scripts: dict[tuple[str, str], list[Program]] = {}  # by pod and container: its processes, in order
        self.processes: dict[tuple[str, str], int] = {}  # how many were ever started, by UID and container
        self.requests: list[ContainerRequest] = []  # for every process there was to be
        self.signalled: list[tuple[str, float]] = []  # container and time of each stop signal
        self.began: list[ContainerId] = []  # every process there ever was, in order
        self.ended: list[tuple[ContainerId, int]] = []  # every end there ever was
        self._pids = 1000

    def pid(self) -> int:
        self._pids += 1
        return self._pids

    def live(self) -> list[FakeRun]:
        """Every process of a container."""
        return [run for pod in self.pods.values() for run in pod.runs.values() if run.exit is None]

    def runs(self, uid: str) -> list[ContainerId]:
        """Every run that a pod has a record of."""
        return sorted(self.pods[uid].runs) if uid in self.pods else []

    def run_of(self, pod: Pod, container: str) -> FakeRun | None:
        """The live run of a container."""
        return next((r for r in self.live() if r.id.uid == pod.uid and r.id.name == container), None)

    def start(self, request: ContainerRequest) -> FakeRun:
        """A process begins."""
        id, pod = request.id, self.pods[request.id.uid]
        self.requests.append(request)
        key = (id.uid, id.name)
        number = self.processes.get(key, 0)
        script = self.scripts.get((request.pod.metadata.name, id.name), [])
        program = script[min(number, len(script) - 1)] if script else program_of(request.container)
        if program.broken:
            raise LaunchError(f'cannot start container "{id.name}": no such file', step="exec", errno=2)
        if any(run.id.name == id.name and run.exit is None for run in pod.runs.values()):
            self.violations.append(f"two runs of {id.name}")
        self.processes[key] = number + 1
        run = FakeRun(
            id=id,
            pid=self.pid(),
            started_at=self.clock.now(),
            image=request.image,
            program=program,
            container=request.container,
        )
        pod.runs[id] = run
        self.began.append(id)
        if program.seconds == 0:
            # Before anybody can say that it was started.
            self.end(run, code=program.code)
        elif program.seconds is not None:
            self.clock.call_at(self.clock.now() + program.seconds, lambda: self.end(run, code=program.code))
        return run

    def end(self, run: FakeRun, *, code: int, signal: int = 0) -> None:
        """A process ends; the shim records it, and tells whoever lives."""
        pod = self.pods.get(run.id.uid)
        if run.exit is not None or pod is None or pod.runs.get(run.id) is not run:
            return
        reason = ExitReason.COMPLETED if code == 0 else ExitReason.ERROR
        run.exit = Exit(
            code=code, reason=reason, started_at=run.started_at, finished_at=self.clock.now(), signal=signal
        )
        self.ended.append((run.id, code))
        for session in run.sessions:
            session.end(code)
        for life in self.lives:
            if not life.over.is_set():
                life.told.put_nowait(ContainerExit(id=run.id, exit=run.exit))

    def kill_shim(self, uid: str) -> None:
        """The shim dies, and with it all that ran in the pod; nobody records an exit."""
        pod = self.pods[uid]
        pod.sandbox = None
        for run in pod.runs.values():
            if run.exit is None:
                run.exit = Exit(
                    code=137,
                    reason=ExitReason.UNKNOWN,
                    started_at=run.started_at,
                    finished_at=self.clock.now(),
                )
                run.told = True
            for session in run.sessions:
                session.lose()
        for life in self.lives:
            if not life.over.is_set():
                life.told.put_nowait(SandboxExit(uid=uid, message="the shim is gone"))

    def reboot(self) -> None:
        """Every process and every tmpfs is gone; disks are not."""
        self.pods.clear()
        self.attached.clear()
        self.bridge = False

    def owners(self) -> set[str]:
        """UIDs of everything that stands."""
        return {*self.pods, *self.attached, *self.volumes}


def fake_image(reference: str) -> Image:
    """An image that anybody would recognise."""
    digest = f"sha256:{abs(hash(reference)) % 16**8:064x}"
    full = reference if "/" in reference else f"docker.io/library/{reference}:latest"
    return Image(
        reference=full, digest=digest, config_digest=digest, config=ImageConfig(), layers=("/layer",), size=1234
    )


class FakeImages:
    """Images."""

    def __init__(self, machine: FakeMachine, life: Life) -> None:
        self._machine = machine
        self._life = life

    async def ensure(
        self,
        reference: str,
        policy: PullPolicy,
        *,
        pulling: Callable[[], None] | None = None,
        credentials: Credentials | None = None,
    ) -> Image:
        machine = self._machine
        await self._life.at(f"ensure {reference}")
        present = machine.images.get(reference)
        if policy is PullPolicy.NEVER and present is None:
            raise ImageError(f'cannot use image "{reference}": not present', reason="ErrImageNeverPull")
        if present is not None and policy is not PullPolicy.ALWAYS:
            return present
        if pulling is not None:
            pulling()
        if machine.pull_seconds:
            await machine.clock.sleep(machine.pull_seconds)
        await self._life.at(f"pulled {reference}")
        image = machine.registry.get(reference, fake_image(reference))
        if isinstance(image, ImageError):
            raise image
        shown = () if credentials is None else credentials.find(*image.reference.split(":")[0].split("/", 1))
        if reference in machine.private and machine.private[reference] not in [(c.username, c.password) for c in shown]:
            raise ImageError(f'cannot pull image "{reference}": the registry answered 401 Unauthorized')
        machine.images[reference] = image
        return image

    async def reclaim(self, retention: ImageRetention, used: Collection[str]) -> Reclaimed:
        """The disk is as full as ``disk_used`` says; every image that nobody uses is a tenth of it."""
        machine = self._machine
        await self._life.at("reclaim")
        running = {run.image.digest for pod in machine.pods.values() for run in pod.runs.values()} | set(used)
        gone: list[str] = []
        if machine.disk_used >= retention.high_percent:
            for name, image in sorted(machine.images.items()):
                if machine.disk_used > retention.low_percent and image.digest not in running:
                    del machine.images[name]
                    machine.disk_used -= 10
                    gone.append(image.reference)
        missing = max(machine.disk_used - retention.low_percent, 0) if machine.disk_used >= retention.low_percent else 0
        return Reclaimed(images=tuple(gone), freed=10 * len(gone), missing=missing)

    async def filesystem(self) -> Filesystem:
        await self._life.at("image file system")
        return fake_filesystem(sum(image.size for image in self._machine.images.values()))


class FakeVolumes:
    """Volumes."""

    def __init__(self, machine: FakeMachine, life: Life) -> None:
        self._machine = machine
        self._life = life

    async def prepare(
        self, pod: Pod, objects: Objects, images: Mapping[str, Image], attachment: Attachment | None
    ) -> Mapping[str, PreparedVolume]:
        await self._life.at("prepare")
        made = self._machine.volumes.setdefault(pod.uid, set())
        for volume in pod.spec.volumes:
            await self._life.at("prepare volume")
            self._check(pod, volume, objects, images)
            made.add(volume.name)
        await self._life.at("prepared")
        return {v.name: PreparedVolume(name=v.name, path=f"/{pod.uid}/{v.name}") for v in pod.spec.volumes}

    def _check(self, pod: Pod, volume: Volume, objects: Objects, images: Mapping[str, Image]) -> None:
        source, namespace = volume.source, pod.metadata.namespace
        if isinstance(source, ImageVolume) and volume.name not in images:
            self._machine.violations.append(f"volume {volume.name} prepared without its image")
        missing = ""
        if isinstance(source, ConfigMapVolume) and not source.optional:
            missing = "" if (namespace, source.name) in objects.config_maps else f'ConfigMap "{source.name}"'
        elif isinstance(source, SecretVolume) and not source.optional:
            missing = "" if (namespace, source.name) in objects.secrets else f'Secret "{source.name}"'
        if missing:
            raise VolumeError(f'cannot prepare volume "{volume.name}": {missing} is missing')

    async def refresh(self, pod: Pod, objects: Objects, attachment: Attachment | None) -> None:
        await self._life.at("refresh")
        self._machine.refreshed.append(pod.uid)
        await self._life.at("refreshed")

    async def usage(self, pod: Pod) -> Mapping[str, int]:
        await self._life.at("volume usage")
        written = self._machine.written.get(pod.uid, {})
        disks = (v.name for v in pod.spec.volumes if isinstance(v.source, EmptyDir) and not v.source.medium)
        return {name: written.get(name, 0) for name in disks}

    async def delete_claims(self, claims: Collection[tuple[str, str]]) -> None:
        await self._life.at("delete claims")
        self._machine.claims -= set(claims)

    async def clear(self, uid: str) -> None:
        await self._life.at("clear volumes")
        self._check_idle(uid)
        self._machine.volumes.get(uid, set()).clear()
        await self._life.at("cleared volumes")

    async def remove(self, uid: str) -> None:
        await self._life.at("remove volumes")
        self._check_idle(uid)
        self._machine.volumes.pop(uid, None)
        await self._life.at("removed volumes")

    def _check_idle(self, uid: str) -> None:
        pod = self._machine.pods.get(uid)
        if pod is not None and any(run.exit is None for run in pod.runs.values()):
            raise VolumeError(f'cannot remove volumes of "{uid}": busy')

    async def owners(self) -> frozenset[str]:
        await self._life.at("volume owners")
        return frozenset(self._machine.volumes)


class FakeNetwork:
    """The pod network."""

    def __init__(self, machine: FakeMachine, life: Life) -> None:
        self._machine = machine
        self._life = life

    async def attach(self, pod: Pod) -> Attachment:
        await self._life.at("attach")
        attached = self._machine.attached
        self._machine.bridge = True
        if any(name == pod.name and uid != pod.uid for uid, (name, _) in attached.items()):
            self._machine.violations.append(f"two pods {pod.name} in the network")
            raise NetworkError(f'cannot attach pod "{pod.name}": the namespace is in use')
        attached.setdefault(pod.uid, (pod.name, False))
        await self._life.at("attaching")
        attached[pod.uid] = (pod.name, True)
        await self._life.at("attached")
        if pod.spec.host_network:
            return Attachment(netns="", address="192.0.2.1", gateway="", host_ip="192.0.2.1", hostname="node")
        return Attachment(
            netns=f"/run/netns/{pod.name.netns}",
            address=self._machine.addresses.setdefault(pod.uid, f"10.99.0.{2 + len(self._machine.addresses)}"),
            gateway="10.99.0.1",
            host_ip="192.0.2.1",
        )

    def listen(self, name: PodName, port: int) -> list[socket.socket]:
        """A program in the pod listens from now on; the far end of every connection to it is added to the list."""
        return self._machine.listening.setdefault((name, port), [])

    async def connect(self, name: PodName, port: int) -> socket.socket:
        await self._life.at("connect")
        accepted = self._machine.listening.get((name, port))
        if accepted is None or not any(owner == name for owner, _ in self._machine.attached.values()):
            raise NetworkError(f'cannot connect to port {port} of pod "{name}": connection refused')
        here, there = socket.socketpair()
        accepted.append(there)
        here.setblocking(False)
        return here

    async def detach(self, name: PodName, uid: str) -> None:
        await self._life.at("detach")
        pod = self._machine.pods.get(uid)
        if pod is not None and any(run.exit is None for run in pod.runs.values()):
            self._machine.violations.append(f"{name} detached while a container of it runs")
        self._machine.attached.pop(uid, None)
        await self._life.at("detached")

    async def figures(self, uids: Collection[str]) -> NetworkFigures:
        await self._life.at("network figures")
        now = self._machine.clock.now()
        theirs = set(uids) & self._machine.addresses.keys() & self._machine.attached.keys()
        link = fake_interface(now % 1e6)
        return NetworkFigures(time=now, monotonic=now, host=(link,), pods=dict.fromkeys(theirs, (link,)))

    async def owners(self) -> frozenset[tuple[PodName, str]]:
        await self._life.at("network owners")
        return frozenset((name, uid) for uid, (name, _) in self._machine.attached.items())

    async def tear_down(self) -> None:
        await self._life.at("tear down")
        self._machine.bridge = False


class FakeRuntime:
    """Sandboxes and containers."""

    def __init__(self, machine: FakeMachine, life: Life) -> None:
        self._machine = machine
        self._life = life

    async def adopt(self) -> Sequence[AdoptedPod]:
        await self._life.at("adopt")
        return [self._adopted(uid, pod) for uid, pod in sorted(self._machine.pods.items())]

    def _adopted(self, uid: str, pod: FakePod) -> AdoptedPod:
        containers = []
        for run in pod.runs.values():
            run.told = run.told or run.exit is not None
            containers.append(
                AdoptedContainer(
                    running=run.running, image_ref=run.image.reference, image_digest=run.image.digest, exit=run.exit
                )
            )
        return AdoptedPod(uid=uid, document=pod.document, sandbox=pod.sandbox, containers=tuple(containers))

    async def start_sandbox(self, pod: Pod, attachment: Attachment, document: Mapping[str, object]) -> SandboxInfo:
        await self._life.at("start sandbox")
        if not self._machine.attached.get(pod.uid, (None, False))[1]:
            self._machine.violations.append(f"a sandbox for {pod.name} without a network")
        here = self._machine.pods.setdefault(pod.uid, FakePod(document=None))
        await self._life.at("sandbox directory")
        here.document = document
        await self._life.at("sandbox document")
        if here.sandbox is None:
            pid = self._machine.pid()
            here.sandbox = SandboxInfo(
                uid=pod.uid, shim_pid=pid, pause_pid=self._machine.pid(), started_at=self._machine.clock.now()
            )
        await self._life.at("sandbox started")
        if here.sandbox is None:
            raise RuntimeFailure("cannot start the sandbox: it died")
        return here.sandbox

    async def record(self, uid: str, document: Mapping[str, object]) -> None:
        await self._life.at("record")
        pod = self._machine.pods.get(uid)
        if pod is not None:
            pod.document = document
        await self._life.at("recorded")

    async def start_container(self, request: ContainerRequest) -> RunningContainer:
        machine, id = self._machine, request.id
        await self._life.at(f"start container {id.name}")
        pod = machine.pods.get(id.uid)
        if pod is not None and id in pod.runs:
            return pod.runs[id].running
        if pod is None or pod.sandbox is None:
            raise RuntimeFailure(f'cannot start container "{id.name}": the shim does not answer')
        missing = {mount.name for mount in request.container.volume_mounts} - machine.volumes.get(id.uid, set())
        if missing:
            machine.violations.append(f"{id.name} without its volumes {missing}")
        machine.logs.setdefault((id.uid, id.name), set()).add(id.attempt)
        machine.logged[id.uid] = request.pod.name
        machine.being_started.append(id.uid)
        try:
            await self._life.at("container rootfs")
            if pod.sandbox is None:
                raise RuntimeFailure(f'cannot start container "{id.name}": the shim does not answer')
            run = machine.start(request)
            await self._life.at("container started")
            await self._life.at("container is told")
        finally:
            machine.being_started.remove(id.uid)
        return replace(run.running, warnings=machine.withheld)

    async def signal(self, id: ContainerId, signal: int) -> None:
        await self._life.at("signal")
        run, machine = self._find(id), self._machine
        machine.signalled.append((id.name, machine.clock.now()))
        if run is not None and not run.program.stubborn:
            asked = run.program.asked
            number = signal if asked == 128 + signal else 0
            if run.program.takes:
                due = machine.clock.now() + run.program.takes
                machine.clock.call_at(due, lambda: machine.end(run, code=asked, signal=number))
            else:
                machine.end(run, code=asked, signal=number)
        await self._life.at("signalled")

    async def run(self, id: ContainerId, command: Command) -> CommandResult:
        """A command says how it ends in the words that ``program_of`` reads."""
        await self._life.at(f"run in {id.name}")
        machine, run = self._machine, self._find(id)
        if run is None or run.exit is not None:
            raise RuntimeFailure(f'cannot run a command in container "{id.name}": it has ended')
        machine.commands.append((id, command.arguments))
        program = program_of_words(command.arguments)
        if program.broken:
            raise RuntimeFailure(f'cannot run a command in container "{id.name}": no such file')
        seconds = program.seconds or 0.0
        timed_out = command.timeout is not None and seconds > command.timeout
        if seconds:
            await machine.clock.sleep(command.timeout if timed_out and command.timeout is not None else seconds)
        await self._life.at(f"ran in {id.name}")
        if timed_out or run.exit is not None:
            return CommandResult(code=137, timed_out=timed_out)
        said = re.search(r"echo ([^\s;]+)", command.arguments[-1])
        output = f"{said[1]}\n".encode() if said else b""
        return CommandResult(code=program.code, output=output[: command.output_limit])

    async def open_session(self, id: ContainerId, request: SessionRequest) -> FakeSession:
        """A command says what it does in the words that ``FakeSession`` reads, and so does the container's own."""
        await self._life.at(f"session in {id.name}")
        machine, run = self._machine, self._find(id)
        if run is None or run.exit is not None:
            raise RuntimeFailure(f'cannot open a session in container "{id.name}": it has ended')
        if request.command is not None and program_of_words(request.command).broken:
            raise RuntimeFailure(f'cannot run a command in container "{id.name}": no such file')
        own, words, terminal = run.container, request.command, request.terminal
        if words is None and own is not None:
            words, terminal = (*(own.command or ()), *(own.args or ())), own.tty
            request = replace(request, stdin=request.stdin and (own.stdin or own.tty))
        ends = request.command is not None
        text = words[-1] if words else ""
        session = FakeSession(text, request, machine.clock, ends=ends, terminal=terminal)
        run.sessions.append(session)
        return session

    async def usage(self, uid: str) -> Mapping[str, int]:
        await self._life.at("usage")
        pod, written = self._machine.pods.get(uid), self._machine.written.get(uid, {})
        names = {run.name for run in pod.runs} if pod is not None else set()
        return {name: written.get(name, 0) for name in sorted(names)}

    async def disk(self, uid: str) -> Mapping[str, ContainerDisk]:
        return {
            name: ContainerDisk(root=DiskUse(bytes=written, inodes=1 if written else 0))
            for name, written in (await self.usage(uid)).items()
        }

    async def filesystem(self) -> Filesystem:
        await self._life.at("file system")
        return fake_filesystem(100 << 20)

    async def figures(self, *, brief: bool = False) -> Figures:
        await self._life.at("figures")
        return fake_figures(self._machine, brief=brief)

    async def kill(self, id: ContainerId) -> None:
        await self._life.at("kill")
        run = self._find(id)
        if run is not None:
            self._machine.end(run, code=137, signal=9)
        await self._life.at("killed")

    def stop_signal(self, id: ContainerId) -> int:
        return signal.SIGTERM

    def _find(self, id: ContainerId) -> FakeRun | None:
        pod = self._machine.pods.get(id.uid)
        return pod.runs.get(id) if pod is not None else None

    async def remove_container(self, id: ContainerId) -> None:
        await self._life.at("remove container")
        run = self._find(id)
        if run is None:
            return
        if run.exit is None:
            raise RuntimeFailure(f'cannot remove container "{id.name}": it runs')
        if not run.told:
            self._machine.violations.append(f"the exit of {id.name} was lost")
        del self._machine.pods[id.uid].runs[id]
        await self._life.at("removed container")

    async def remove_sandbox(self, name: PodName | None, uid: str) -> None:
        await self._life.at("remove sandbox")
        if uid in self._machine.being_started:
            self._machine.violations.append(f"the sandbox of {uid} removed under a container that is being started")
        pod = self._machine.pods.get(uid)
        if pod is not None:
            for run in pod.runs.values():
                self._machine.end(run, code=137, signal=9)
                if not run.told and pod.sandbox is not None and not self._life.told.qsize():
                    self._machine.violations.append(f"the exit of {run.id.name} was lost")
            pod.sandbox = None
            await self._life.at("removing sandbox")
            self._machine.pods.pop(uid, None)
        if name is not None:
            for key in [key for key in self._machine.logs if key[0] == uid]:
                del self._machine.logs[key]
            self._machine.logged.pop(uid, None)
        await self._life.at("removed sandbox")

    async def logged(self) -> frozenset[tuple[PodName, str]]:
        return frozenset((name, uid) for uid, name in self._machine.logged.items())

    async def next_attempt(self, pod: Pod, container: str) -> int:
        await self._life.at("next attempt")
        return max(self._machine.logs.get((pod.uid, container), ()), default=-1) + 1

    async def exits(self) -> AsyncIterator[ContainerExit | SandboxExit]:
        while True:
            told = await self._life.told.get()
            if self._life.over.is_set():
                await asyncio.get_running_loop().create_future()
            if isinstance(told, ContainerExit):
                run = self._find(told.id)
                if run is not None:
                    run.told = True
            yield told


class FakeProbes:
    """Questions to pods."""

    def __init__(self, machine: FakeMachine, life: Life) -> None:
        self._machine = machine
        self._life = life

    async def check(self, action: NetworkCheck, address: str, timeout: float) -> CheckResult:
        await self._life.at(f"check {action.port}")
        self._machine.asked.append(action)
        answer = self._machine.answers.get(action.port, CheckResult(success=False, message="connection refused"))
        if isinstance(answer, NsrunError):
            raise answer
        return answer

    async def call(self, action: HttpGet, address: str, timeout: float | None) -> str | None:
        await self._life.at(f"call {action.port}")
        self._machine.asked.append(action)
        answer = self._machine.answers.get(action.port)
        if answer is None:
            raise NetworkError(f"cannot reach port {action.port}: connection refused")
        if isinstance(answer, NsrunError):
            raise answer
        return answer.message or None


class FakeManifests:
    """A source that says what the test says."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self._update: SourceUpdate | None = None
        self._changed = asyncio.Event()

    def silence(self) -> None:
        """The next supervisor hears nothing, until the next ``say``."""
        self._update = None

    def say(self, *pods: Pod) -> None:
        self.update(SourceUpdate(pods=pods))

    def update(self, update: SourceUpdate) -> None:
        self._update = update
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def updates(self) -> AsyncIterator[SourceUpdate]:
        if self.faults:
            raise self.faults.pop(0)
        said: SourceUpdate | None = None
        while True:
            changed = self._changed
            if self._update is not None and self._update is not said:
                said = self._update
                yield said
            else:
                await changed.wait()
