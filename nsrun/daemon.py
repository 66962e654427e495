"""The composition root: builds every part, connects them, runs them, and takes them down again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path

import prctl

from nsrun.api.configz import configz_routes
from nsrun.api.container_logs import container_log_routes
from nsrun.api.control_routes import control_routes
from nsrun.api.figures.httpcounts import HttpCounts
from nsrun.api.figures.stats_routes import MachineFacts, Measured, stats_routes
from nsrun.api.health import health_routes
from nsrun.api.kubelet_routes import kubelet_routes
from nsrun.api.log_files import log_file_routes
from nsrun.api.own_routes import own_routes
from nsrun.api.pod_list import PodList
from nsrun.api.pod_routes import pod_routes
from nsrun.api.routes import Route
from nsrun.api.run_routes import run_routes
from nsrun.api.secure_port import secure_side
from nsrun.api.server import ServerSettings, serve
from nsrun.api.startup import once_known
from nsrun.api.streaming.stream_routes import stream_routes
from nsrun.api.watch_routes import watch_routes
from nsrun.assembly import image_service
from nsrun.errors import HostError, describe_errno
from nsrun.host.cgroups import CgroupMode
from nsrun.host.doctor import Level, examine
from nsrun.host.facts import HostFacts, probe
from nsrun.host.machine import machine_info
from nsrun.host.node import allocatable, capacity, disk_size
from nsrun.host.rootless.world import world
from nsrun.images.service import ImageService
from nsrun.model.node import Node
from nsrun.model.retention import ImageRetention
from nsrun.model.status import Phase, PodStatus
from nsrun.model.update import SourceUpdate
from nsrun.network.dns import ClusterDns
from nsrun.network.files import HostFiles
from nsrun.network.service import NetworkService
from nsrun.network.usernet import user_network
from nsrun.probes.service import NetworkProbes
from nsrun.runtime.cgroup_open import open_cgroups
from nsrun.runtime.cgroups import Cgroups
from nsrun.runtime.engine import Engine, LogLimits
from nsrun.runtime.seccomp import Seccomp
from nsrun.settings import Settings
from nsrun.sources.directory import DirectorySource
from nsrun.sources.merge import MergedSources, Source
from nsrun.sources.requested import RequestedPods
from nsrun.sources.url import UrlSource
from nsrun.supervisor.admission import Admission
from nsrun.supervisor.autoremove import AutoRemoval
from nsrun.supervisor.backoff import BackoffSettings, Schedule
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.counts import Counts
from nsrun.supervisor.housekeeping import HousekeepingSettings
from nsrun.supervisor.measuring import Measuring
from nsrun.supervisor.ports import Manifests
from nsrun.supervisor.supervisor import Supervisor, SupervisorSettings
from nsrun.support import native
from nsrun.support.boot import boot_id
from nsrun.support.clock import SystemClock
from nsrun.support.layout import Layout
from nsrun.support.removal import remove_tree
from nsrun.volumes.service import VolumeService

__all__ = ["Ending", "Parts", "api_routes", "build", "run", "take_down", "wait_for_end"]

logger = logging.getLogger(__name__)

# Python's own: whoever runs for months collects its garbage.
_GARBAGE = (700, 10, 10)

_OTHER_PLACES = "run it as root, or name directories of yours with --root, --run-dir and --log-dir"

Watcher = Callable[[StatusBoard], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the daemon ended. ``pods_left``: how many pods keep running; ``down``: everything was removed."""

    pods_left: int
    down: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What was built."""

    supervisor: Supervisor
    board: StatusBoard
    network: NetworkService
    engine: Engine
    images: ImageService
    cgroups: Cgroups
    measured: Measured
    machine: MachineFacts


class _NoManifests:
    """A source that never says anything: for taking down."""

    async def updates(self) -> AsyncIterator[SourceUpdate]:
        await asyncio.get_running_loop().create_future()
        yield SourceUpdate(pods=())


async def run(settings: Settings, *, watcher: Watcher | None = None) -> Ending:
    """Runs the pods of the manifests until SIGTERM or SIGINT (pods go on) or until it is asked to take everything down.

    ``watcher`` is given the board, and is cancelled at the end. Raises HostError, NetworkError, ApiError.
    """
    layout = settings.layout
    with _sole_owner(layout):
        _be_nsrun()
        _allow_open_files(settings.open_files)
        requested = RequestedPods(layout.requested, node_name=settings.node_name, boot_id=boot_id())
        parts = build(settings, _sources(settings, requested))
        async with parts.images:
            down = await _serve(settings, parts, requested, watcher)
        pods_left = sum(_runs(status) for _, status in parts.board.pods())
        if down:
            _remove_the_rest(layout, parts.cgroups)
    return Ending(pods_left=0 if down else pods_left, down=down)


async def take_down(layout: Layout, *, bridge: str, cgroup_root: str, grace: float | None = None) -> None:
    """Removes every pod and everything else of nsrun's, without a daemon. ``grace``: seconds for every pod, instead of
    its own. Raises NsrunError."""
    settings = Settings(manifests=None, node_name="localhost", layout=layout, bridge=bridge, cgroup_root=cgroup_root)
    with _sole_owner(layout):
        parts = build(settings, _NoManifests())
        async with parts.images, asyncio.TaskGroup() as group:
            group.create_task(parts.supervisor.run())
            await parts.supervisor.down(grace=grace)
        _remove_the_rest(layout, parts.cgroups)


def _runs(status: PodStatus) -> bool:
    """Whether anything of the pod runs, or waits to: not those that ended, or were turned away."""
    return status.phase not in (Phase.SUCCEEDED, Phase.FAILED)


def wait_for_end(layout: Layout, seconds: float) -> bool:
    """Whether no daemon owns the run directory any more, within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with _sole_owner(layout, make=False):
                return True
        except FileNotFoundError:
            return True
        except HostError:
            time.sleep(0.05)
    return False


@contextlib.contextmanager
def _sole_owner(layout: Layout, *, make: bool = True) -> Iterator[None]:
    """Holds the locks of the run directory and of the root. Raises HostError when another nsrun has one of them."""
    if make:
        for directory, entries in ((layout.run_dir, layout.run_entries), (layout.root, layout.root_entries)):
            _make_private(directory)
            _check_content(directory, entries)
    with contextlib.ExitStack() as held:
        for path in (layout.lock, layout.root):
            fd = _open_lock(path, make=make and path == layout.lock)
            held.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _owned(path if path == layout.root else layout.run_dir) from None
        yield


def _open_lock(path: Path, *, make: bool) -> int:
    """Raises HostError, and FileNotFoundError when it is not there and not to be made."""
    try:
        if make:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        hint = _OTHER_PLACES if isinstance(error, PermissionError) else None
        raise HostError(f'cannot open "{path}": {describe_errno(error.errno or 0)}', hint=hint) from error


def _owned(directory: Path) -> HostError:
    return HostError(
        f'cannot run here: another nsrun owns "{directory}"',
        hint="nsrun pods shows what it runs, nsrun down ends it; a second one needs --run-dir, --root, --bridge, "
        "--pod-cidr, --cgroup-root, --read-only-port and --port of its own",
    )


def _check_content(directory: Path, entries: frozenset[str]) -> None:
    """What belongs to no pod is removed from these directories, so they must be ours alone."""
    foreign = sorted(set(os.listdir(directory)) - entries - {"lost+found"})
    if foreign:
        raise HostError(
            f'cannot use "{directory}": "{foreign[0]}" in it is not nsrun\'s',
            hint="nsrun removes what it finds there and does not know: give it a directory of its own",
        )


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = _OTHER_PLACES if isinstance(error, PermissionError) else None
        raise HostError(f'cannot make "{directory}": {describe_errno(error.errno or 0)}', hint=hint) from error


def _be_nsrun() -> None:
    """The process's name for ``ps``; nothing of another user's may look into its memory, where secrets pass; and little
    of that memory: its threads wait most of the time, and need no arenas of their own."""
    native.malloc_frugally()
    gc.set_threshold(*_GARBAGE)
    prctl.set_name("nsrun")
    prctl.set_dumpable(False)


def _allow_open_files(wanted: int) -> None:
    """As many as asked for; as many as this machine lets us have, when that is fewer. Pods have limits of their own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        except (OSError, ValueError):
            continue
        return
    logger.warning("nsrun may have %d files open, not %d", soft, wanted)


def _sources(settings: Settings, requested: RequestedPods) -> Manifests:
    """What is described in the directory comes first, then what is at the URL, then what was asked for by name."""
    clock, sources = SystemClock(), list[Source]()
    if settings.manifests is not None:
        directory, often = settings.manifests, settings.file_check_seconds
        sources.append(DirectorySource(directory, node_name=settings.node_name, check_seconds=often, clock=clock))
    if settings.manifest_url:
        url, headers, often = settings.manifest_url, settings.manifest_headers, settings.http_check_seconds
        sources.append(UrlSource(url, headers=headers, node_name=settings.node_name, check_seconds=often, clock=clock))
    return MergedSources((*sources, requested), clock=clock)


def build(settings: Settings, source: Manifests) -> Parts:
    """Every part, connected to the others; nothing runs yet. Raises NsrunError."""
    layout, clock, board = settings.layout, SystemClock(), StatusBoard()
    facts = probe(settings.layout.layers)
    cgroups = open_cgroups(facts, settings.cgroup_root, pids_limit=settings.pids_limit)
    network = NetworkService(
        layout=layout,
        bridge=settings.bridge,
        pod_cidr=settings.pod_cidr,
        host_files=HostFiles(resolv_conf=settings.resolv_conf),
        cluster_dns=ClusterDns(servers=settings.cluster_dns, domain=settings.cluster_domain),
        user=user_network(
            world(layout.run_dir), directory=layout.network, bridge=settings.bridge, pods=settings.pod_cidr
        ),
    )
    logs = LogLimits(bytes=settings.log_max_bytes, files=settings.log_max_files)
    engine = Engine(layout=layout, cgroups=cgroups, seccomp=Seccomp(layout.cache), facts=facts, clock=clock, logs=logs)
    images = image_service(layout, settings.registries_conf, settings.image_policy)
    node = _node(settings, facts, address=network.host_address)
    volumes, counts = VolumeService(layout, node=node, clock=clock), Counts()
    supervisor = Supervisor(
        manifests=source,
        images=images,
        volumes=volumes,
        network=network,
        runtime=engine,
        probes=NetworkProbes(network.socket_towards),
        board=board,
        clock=clock,
        node=node,
        settings=SupervisorSettings(
            admission=_admission(settings, facts, node),
            backoffs=BackoffSettings(
                crash=Schedule(initial=settings.crash_loop_initial, maximum=settings.crash_loop_max)
            ),
            housekeeping=HousekeepingSettings(images=_image_retention(settings)),
        ),
        counts=counts,
    )
    measuring = Measuring(runtime=engine, network=network, images=images, volumes=volumes, board=board, clock=clock)
    _say_withheld(facts, cgroups)
    return Parts(
        supervisor=supervisor,
        board=board,
        network=network,
        engine=engine,
        images=images,
        cgroups=cgroups,
        measured=Measured(
            measuring=measuring, board=board, counts=counts, http=HttpCounts(), probe_counts=supervisor.probe_counts
        ),
        machine=_machine(settings, facts, now=clock.now()),
    )


def _machine(settings: Settings, facts: HostFacts, *, now: float) -> MachineFacts:
    return MachineFacts(
        node_name=settings.node_name,
        document=machine_info(facts, now=now),
        cores=facts.cpus,
        cgroup_version=2 if facts.cgroups.mode is CgroupMode.V2 else 1,
    )


def _node(settings: Settings, facts: HostFacts, *, address: str) -> Node:
    whole = capacity(facts, disk=disk_size(settings.layout.root), pods=settings.max_pods)
    return Node(
        name=settings.node_name,
        addresses=(address,),
        capacity=whole,
        allocatable=allocatable(whole, settings.reserved),
    )


def _admission(settings: Settings, facts: HostFacts, node: Node) -> Admission:
    return Admission(
        allocatable=node.allocatable,
        max_pods=settings.max_pods,
        unsafe_sysctls=settings.unsafe_sysctls,
        app_armor="apparmor" in facts.lsms,
        se_linux="selinux" in facts.lsms,
        user_namespaces=facts.has_pod_users,
    )


def _image_retention(settings: Settings) -> ImageRetention:
    return ImageRetention(
        high_percent=settings.image_gc_high,
        low_percent=settings.image_gc_low,
        minimum_age=settings.image_minimum_age,
        maximum_age=settings.image_maximum_age,
    )


def _ending_signals() -> list[signal.Signals]:
    """The terminal's end is ours too, unless whoever started us wants otherwise (nohup)."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hang_up]


def _say_withheld(facts: HostFacts, cgroups: Cgroups) -> None:
    """What this machine withholds from every pod, said once; ``nsrun doctor`` says the rest."""
    for finding in examine(facts):
        if finding.subject in ("capabilities", "overlayfs") and finding.level is not Level.OK:
            logger.warning("%s (%s)", finding.text, finding.hint)
    for warning in cgroups.warnings:
        logger.warning("%s", warning)


def api_routes(
    settings: Settings, parts: Parts, requested: RequestedPods, *, down: Callable[[float | None], None]
) -> tuple[Route, ...]:
    """Everything that is served. ``down``: asks for all to be taken down, with so many seconds for each pod."""
    listed = PodList(parts.board, node_name=settings.node_name)
    return (
        *health_routes(lambda: parts.supervisor.loop_entered_at, SystemClock()),
        *kubelet_routes(parts.board, listed),
        *container_log_routes(parts.board, settings.layout, SystemClock()),
        *log_file_routes(settings.layout.log_dir),
        *run_routes(parts.board, parts.engine),
        *configz_routes(settings),
        *own_routes(parts.board, settings, down=down),
        *pod_routes(parts.board, requested, send=parts.engine.signal, node_name=settings.node_name),
        *control_routes(parts.supervisor),
        *watch_routes(parts.board, listed),
        *stream_routes(parts.board, runtime=parts.engine, network=parts.network),
        *stats_routes(parts.measured, parts.machine),
    )


async def _serve(settings: Settings, parts: Parts, requested: RequestedPods, watcher: Watcher | None) -> bool:
    """Everything that runs at once. Returns whether all was taken down."""
    loop = asyncio.get_running_loop()
    asked_down: asyncio.Queue[float | None] = asyncio.Queue()
    for number in _ending_signals():
        loop.add_signal_handler(number, parts.supervisor.stop)
    for warning in await parts.network.start():
        logger.warning("%s", warning)
    routes = api_routes(settings, parts, requested, down=asked_down.put_nowait)
    secure = await secure_side(settings, (parts.network.host_address,), SystemClock())
    server = serve(
        once_known(routes, parts.supervisor.until_known),
        ServerSettings(
            socket_path=settings.layout.socket,
            address=settings.address,
            read_only_port=settings.read_only_port,
            secure=secure.secure if secure is not None else None,
            host_names=(settings.node_name,),
            counts=parts.measured.http,
        ),
    )
    gc.collect()
    gc.freeze()  # what start-up left will never be garbage: no later collection need look at it
    async with server, asyncio.TaskGroup() as group:
        removal = AutoRemoval(parts.board, SystemClock(), requested.remove)
        companions = [
            parts.network.guard(),
            parts.measured.measuring.run(),
            _go_down(asked_down, parts.supervisor),
            removal.run(),
        ]
        if secure is not None:
            companions.append(secure.keep())
        if watcher is not None:
            companions.append(watcher(parts.board))
        tasks = [group.create_task(companion) for companion in companions]
        await parts.supervisor.run()
        for task in tasks:
            task.cancel()
    return parts.supervisor.is_down


async def _go_down(asked: asyncio.Queue[float | None], supervisor: Supervisor) -> None:
    """As often as it is asked for: whoever asks again may be less patient."""
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(supervisor.down(grace=await asked.get()))


def _remove_the_rest(layout: Layout, cgroups: Cgroups) -> None:
    """What belongs to no single pod and to no bridge: the cgroup, the run directory.

    The directory itself may stay: when it is a mount point, or somebody put something there.
    """
    own = world(layout.run_dir)
    if own is not None:
        own.end()
    try:
        for name in sorted(layout.run_entries - {layout.lock.name}):
            remove_tree(layout.run_dir / name)
        remove_tree(layout.requested)
        layout.lock.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f'cannot empty "{layout.run_dir}": {describe_errno(error.errno or 0)}') from error
    try:
        layout.run_dir.rmdir()
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise HostError(f'cannot remove "{layout.run_dir}": {describe_errno(error.errno or 0)}') from error
    cgroups.remove_root()
