"""The connector: the one program that joins the pods' network namespace to the outside, for all pods of a user.

It goes on when nsrun is killed, and the next nsrun finds it by its record: pid, start time, boot, and which namespace
it serves. When it ends it is started again; pods keep their addresses, and only connections that went through it are
lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from nsrun.errors import NetworkError, describe_errno
from nsrun.host.rootless.holding import Holder, open_process, start_ticks
from nsrun.network.home import Home
from nsrun.network.netlink import Route, RouteSocket, delete_link
from nsrun.network.pasta import PASTA
from nsrun.network.slirp4netns import SLIRP4NETNS
from nsrun.network.uplink import TAP, ConnectorProgram, Uplink, free_uplink
from nsrun.support.atomic import write_atomic
from nsrun.support.boot import boot_id
from nsrun.support.clock import Clock, SystemClock
from nsrun.support.fds import Fd
from nsrun.support.readiness import readable

__all__ = ["PROGRAMS", "Connector", "Record", "decode_record", "encode_record"]

log = logging.getLogger(__name__)

PROGRAMS = (PASTA, SLIRP4NETNS)

_TUN = "/dev/net/tun"
_UP_SECONDS = 10.0  # until there is a way out; it takes tens of milliseconds
_STOP_SECONDS = 2.0
_LONG = 30.0  # seconds: who ran so long is started again at once
_FIRST_PAUSE, _LAST_PAUSE = 0.5, 60.0
_RTMGRP_IPV4_ROUTE = 0x40
_NO_WAY = "pods have no way to the outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is written down of one that runs. ``netns``: the inode of the namespace."""

    program: str
    process: Holder
    netns: int
    network: IPv4Network


def encode_record(record: Record) -> bytes:
    """One line of JSON."""
    process = record.process
    return (
        json.dumps(
            {
                "program": record.program,
                "pid": process.pid,
                "ticks": process.ticks,
                "boot": process.boot,
                "netns": record.netns,
                "network": str(record.network),
            }
        ).encode()
        + b"\n"
    )


def decode_record(text: bytes) -> Record | None:
    """None for what ``encode_record`` did not write."""
    try:
        said = json.loads(text)
        process = Holder(int(said["pid"]), int(said["ticks"]), str(said["boot"]))
        network = IPv4Network(str(said["network"]))
        return Record(program=str(said["program"]), process=process, netns=int(said["netns"]), network=network)
    except (ValueError, KeyError, TypeError):
        return None


class _Running:
    """One that runs. ``child``: of this process, to be reaped; otherwise it is of an earlier nsrun."""

    def __init__(self, program: str, pid: int, pidfd: Fd, *, child: bool) -> None:
        self.program = program
        self.pid = pid
        self._pidfd = pidfd
        self._child = child
        self._end = asyncio.get_running_loop().create_task(self._wait())

    async def ended(self) -> None:
        await asyncio.shield(self._end)

    async def end(self) -> None:
        """Makes it end; returns when it has."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._end.done():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd.fileno(), number)
                await asyncio.wait((self._end,), timeout=_STOP_SECONDS)

    async def _wait(self) -> None:
        with self._pidfd:
            await readable(self._pidfd.fileno())
            if self._child:
                os.waitpid(self.pid, os.WNOHANG)  # noqa: ASYNC222  # it has ended


class Connector:
    """Belongs to one event loop."""

    def __init__(
        self,
        *,
        home: Home,
        netns: Path,
        directory: Path,
        pods: IPv4Network,
        programs: Sequence[ConnectorProgram] = PROGRAMS,
        clock: Clock | None = None,
    ) -> None:
        """``home``: of the pods' network namespace, which is pinned at ``netns``. ``directory``: where the record is;
        it has to be there. ``programs``: the best first, looked for in PATH."""
        self._home = home
        self._netns = netns
        self._record = directory / "connector.json"
        self._log = directory / "connector.log"
        self._pods = pods
        self._programs = programs
        self._clock = clock if clock is not None else SystemClock()
        self._uplink: Uplink | None = None
        self._running: _Running | None = None
        self._was_up = False
        self._stopped = asyncio.Event()
        self._changing = asyncio.Lock()

    @property
    def name_server(self) -> str:
        """Where pods' questions for names reach the host's own name server; "" when nothing ever took them there. One
        that ended is about to be started again."""
        return str(self._uplink.name_server) if self._uplink is not None and self._was_up else ""

    @property
    def pid(self) -> int | None:
        """Of the program, while it runs as far as we know."""
        return self._running.pid if self._running is not None else None

    async def start(self) -> tuple[str, ...]:
        """Finds the one that runs, or starts one. Returns what this machine withholds, one sentence each."""
        async with self._changing:
            self._stopped.clear()
            await self._adopt()
            return () if self._running is not None else await self._launch()

    async def keep(self) -> None:
        """Starts it again whenever it ends; and again and again when it cannot. Runs until cancelled, or stopped."""
        pause, said = 0.0, ""
        while True:
            began = self._clock.monotonic()
            if self._running is not None:
                await self._running.ended()
            if self._clock.monotonic() - began > _LONG:
                pause, said = 0.0, ""
            await self._clock.sleep(pause)
            pause = min(max(pause * 2, _FIRST_PAUSE), _LAST_PAUSE)
            async with self._changing:
                if self._stopped.is_set():
                    return
                if self._running is not None:
                    log.warning("%s, which connects pods to the outside, ended", self._running.program)
                    self._running = None
                for sentence in await self._launch():
                    if sentence != said:
                        log.warning("%s", sentence)
                    said = sentence

    async def stop(self) -> None:
        """Ends it, and forgets it. It need not run."""
        self._stopped.set()
        async with self._changing:
            await self._adopt()
            if self._running is not None:
                await self._running.end()
                self._running = None
            for path in (self._record, self._log):
                path.unlink(missing_ok=True)

    async def _adopt(self) -> None:
        """Takes over the one that an earlier nsrun started; ends it when it serves a namespace that was left."""
        record = decode_record(await asyncio.to_thread(_read, self._record))
        if self._running is not None or record is None or record.process.boot != boot_id():
            return
        serves = record.netns == self._netns.stat().st_ino
        if serves:
            self._uplink = Uplink(network=record.network)  # what pods' resolv.conf may name
        pidfd = open_process(record.process)
        if pidfd is not None:
            running = _Running(record.program, record.process.pid, pidfd, child=False)
            if serves:
                self._running, self._was_up = running, True
            else:
                await running.end()

    async def _launch(self) -> tuple[str, ...]:
        """Starts the first program that works. Returns why there is none."""
        found = [(program, path) for program in self._programs if (path := shutil.which(program.name))]
        if not found:
            return (f"{_NO_WAY}: {_names(self._programs)} is installed (apt install {self._programs[0].package})",)
        if obstacle := _tun_obstacle():
            return (f"{_NO_WAY}: {obstacle}",)
        if self._uplink is None:
            taken = [route.destination for route in await asyncio.to_thread(_host_routes)]
            self._uplink = free_uplink([*taken, self._pods])
        causes = []
        for program, path in found:
            cause = await self._try(program, path, self._uplink)
            if not cause:
                return ()
            causes.append(f"{program.name}: {cause}")
        return (f"{_NO_WAY}: {'; '.join(causes)}",)

    async def _try(self, program: ConnectorProgram, path: str, uplink: Uplink) -> str:
        """Why it does not work, or ""."""
        try:
            options = await asyncio.to_thread(_options_of, path)
            if missing := sorted(program.required - options):
                return f"it is too old: it has no {missing[0]}"
            await self._home.run(_delete_tap)  # of one that was started and never written down
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            with await self._home.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as changes:
                changes.bind((0, _RTMGRP_IPV4_ROUTE))
                argv = (path, *program.arguments(options, uplink, self._netns))
                process, pidfd = await asyncio.to_thread(self._spawn, program.name, argv, uplink)
                return await self._until_up(_Running(program.name, process.pid, pidfd, child=True), changes)
        except OSError as error:
            return describe_errno(error.errno or 0)
        except (NetworkError, subprocess.SubprocessError) as error:
            return str(error)

    def _spawn(self, program: str, argv: tuple[str, ...], uplink: Uplink) -> tuple[Holder, Fd]:
        """In the host's network namespace, and in a session of its own: a terminal's signals are not for it."""
        with Fd.open(self._log, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW) as told:
            pid = os.posix_spawn(
                argv[0],
                argv,
                {"PATH": os.defpath},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, told.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, told.fileno(), 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores them, and old pastas want nothing ignored
            )
        pidfd = Fd(os.pidfd_open(pid))
        process = Holder(pid, start_ticks(pid) or 0, boot_id())
        record = Record(program=program, process=process, netns=self._netns.stat().st_ino, network=uplink.network)
        write_atomic(self._record, encode_record(record), durable=False)
        return process, pidfd

    async def _until_up(self, running: _Running, changes: socket.socket) -> str:
        ended = asyncio.ensure_future(running.ended())
        up = asyncio.ensure_future(self._default_route(changes))
        try:
            await asyncio.wait((ended, up), timeout=_UP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if up.done() and up.exception() is None and not ended.done():
                self._running, self._was_up = running, True
                return ""
        finally:
            up.cancel()
            ended.cancel()
            if self._running is not running:
                await running.end()
        return _complaint(_read(self._log)) or "it makes no way out"

    async def _default_route(self, changes: socket.socket) -> None:
        """Waits for one in the pods' namespace."""
        loop = asyncio.get_running_loop()
        while not await self._home.run(_has_way_out):
            with suppress(OSError):  # ENOBUFS: more happened than fitted
                await loop.sock_recv(changes, 1 << 16)


def _names(programs: Sequence[ConnectorProgram]) -> str:
    return "neither " + " nor ".join(program.name for program in programs)


def _options_of(path: str) -> frozenset[str]:
    """Those that the program's help names."""
    told = subprocess.run([path, "--help"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10)
    return frozenset(re.findall(r"--[a-z0-9][a-z0-9-]*", (told.stdout + told.stderr).decode("utf-8", "replace")))


def _tun_obstacle() -> str:
    """Why no process of this user gets an interface whose packets it carries; "" when nothing is in the way."""
    try:
        Fd.open(_TUN, os.O_RDWR).close()
    except PermissionError:
        return f'"{_TUN}" is not for everybody (chmod 666 {_TUN})'
    except OSError as error:
        return f'cannot open "{_TUN}": {describe_errno(error.errno or 0)} (modprobe tun)'
    return ""


def _host_routes() -> tuple[Route, ...]:
    with RouteSocket.open() as rtnetlink:
        return rtnetlink.routes()


def _has_way_out() -> bool:
    with RouteSocket.open() as rtnetlink:
        return any(not route.destination.prefixlen for route in rtnetlink.routes())


def _delete_tap() -> None:
    with RouteSocket.open() as rtnetlink:
        rtnetlink.send([delete_link(TAP)])


def _complaint(text: bytes) -> str:
    """The last line that says something of what the program wrote."""
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line and not re.search(r"bytes to syslog$", line)]  # pasta's, without a syslog
    return said[-1] if said else ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
