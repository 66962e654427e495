"""The network of a user who is not root: a namespace of the user's own for all pods, and its ways out and in.

Out: the connector, one program for all pods. In: the forwarder of host ports. Both are in the host's network namespace
with one foot only, outlive nsrun, and are started again when they end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address
from pathlib import Path

from nsrun.errors import NetworkError, describe_errno
from nsrun.host.rootless.world import World
from nsrun.network.connector import PROGRAMS, Connector
from nsrun.network.forwarder import ForwardedPort, Forwarder
from nsrun.network.home import HostHome, JoinedHome
from nsrun.network.ipam import Lease
from nsrun.network.nft import Nftables
from nsrun.network.transparent import SourceRouting
from nsrun.network.uplink import ConnectorProgram
from nsrun.support.clock import Clock, SystemClock
from nsrun.support.fds import Fd
from nsrun.support.readiness import readable

__all__ = ["LINK_LOCAL", "UserNetwork", "user_network"]

log = logging.getLogger(__name__)

_PAUSE = 1.0  # seconds between attempts at what failed

LINK_LOCAL = IPv4Network("169.254.0.0/16")
"""No router passes these on (RFC 3927, 2.7), but a connector would ask for them in the host's name: there a cloud tells
the machine its secrets."""


class UserNetwork:
    """Belongs to one event loop. ``start`` comes first, then the bridge, then ``open``."""

    def __init__(
        self,
        *,
        netns: Path,
        holder: Fd,
        directory: Path,
        bridge: str,
        pods: IPv4Network,
        programs: Sequence[ConnectorProgram] = PROGRAMS,
    ) -> None:
        """``netns``: where the namespace is pinned. ``holder``: a pidfd of the process with which it ends, which is
        taken over. ``directory``: for what is kept about it. ``programs``: as for the connector. Raises OSError."""
        self._namespace = Fd.open(netns, 0)
        self._holder = holder
        self._directory = directory
        self._pods = pods
        self._host = HostHome()
        self.home = JoinedHome(Fd.open(netns, 0))
        self._connector = Connector(home=self.home, netns=netns, directory=directory, pods=pods, programs=programs)
        self._routing = SourceRouting(nft=Nftables(), bridge=bridge)
        self._forwarder: Forwarder | None = None
        self._leases: Callable[[], Sequence[Lease]] = tuple
        self._clock: Clock = SystemClock()
        self._publishing = threading.Lock()

    @property
    def name_server(self) -> str:
        """Where pods' questions for names reach the host's own name server; "" when nothing takes them there."""
        return self._connector.name_server

    async def start(self) -> tuple[str, ...]:
        """The way out. Returns what this machine withholds, one sentence each. Raises NetworkError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return await self._connector.start()

    async def open(self, leases: Callable[[], Sequence[Lease]]) -> tuple[str, ...]:
        """The way in, for host ports of these leases, now and later. Returns and raises as ``start``."""
        transparent = await self.home.run(self._route_sources)
        self._forwarder, self._leases = self._make_forwarder(transparent=transparent), leases
        withheld = await self._host.run(self._forwarder.start)
        return withheld + await self._host.run(self._set)

    async def publish(self, uid: str) -> tuple[str, ...]:
        """Forwards the host ports of every lease. Returns which of this pod's cannot be had, one sentence each.

        Raises NetworkError."""
        return await self._host.run(self._set, only=uid)

    async def withdraw(self, uid: str) -> None:
        """Ends the forwarding of this pod's host ports, which its lease may still name. Raises NetworkError."""
        await self._host.run(self._set, without=uid)

    async def keep(self) -> None:
        """Starts again what ends. Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._connector.keep())
            group.create_task(self._keep_forwarding())

    async def repair(self) -> bool:
        """Makes again what of the packet filter is not the pods', and somebody flushed; whether there was need. Raises
        NetworkError."""
        return await self.home.run(self._routing.repair)

    async def stop(self) -> None:
        """Ends both, also those of an earlier nsrun. Raises NetworkError."""
        await self._host.run(self._stop_forwarding)
        await self.home.run(self._routing.remove)
        await self._connector.stop()

    def _stop_forwarding(self) -> None:
        with self._publishing:
            forwarder, self._forwarder = self._forwarder or self._make_forwarder(transparent=False), None
            forwarder.stop()

    def _make_forwarder(self, *, transparent: bool) -> Forwarder:
        return Forwarder(
            directory=self._directory,
            netns=self._namespace,
            holder=self._holder,
            pods=self._pods,
            transparent=transparent,
        )

    def _route_sources(self) -> bool:
        """Whether pods can be shown the addresses of clients."""
        try:
            self._routing.ensure()
        except NetworkError as error:
            log.info("%s", error)
            return False
        return True

    async def _keep_forwarding(self) -> None:
        while True:
            try:
                process = await self._host.run(self._forwarding_process)
            except NetworkError as error:
                log.warning("%s", error)
                await self._clock.sleep(_PAUSE)
                continue
            if process is None:
                return
            with process:
                await readable(process.fileno())
            if self._forwarder is not None:
                log.warning("The forwarder of host ports ended; it is started again")

    def _forwarding_process(self) -> Fd | None:
        """The forwarder's pidfd, of one that runs and has all ports; None when there is to be none."""
        with self._publishing:
            if self._forwarder is None:
                return None
            self._forwarder.set([port for lease in self._leases() for port in _forwarded(lease)])
            return Fd(os.dup(self._forwarder.fileno()))

    def _set(self, *, only: str = "", without: str = "") -> tuple[str, ...]:
        """Returns which ports cannot be had, of the pod ``only`` or of all."""
        with self._publishing:
            if self._forwarder is None:
                return ()
            wanted = {lease.uid: _forwarded(lease) for lease in self._leases() if lease.uid != without}
            missing = self._forwarder.set([port for ports in wanted.values() for port in ports])
        named = [f" {port}: " for port in wanted.get(only, ())]
        return missing if not only else tuple(text for text in missing if any(name in text for name in named))


def _forwarded(lease: Lease) -> tuple[ForwardedPort, ...]:
    """Without ports at IPv6 addresses of the host, which no lease has (``published_ports``)."""
    return tuple(
        ForwardedPort(
            protocol=port.protocol,
            host_ip=port.host_ip,
            host_port=port.host_port,
            pod_ip=lease.address,
            pod_port=port.container_port,
        )
        for port in lease.ports
        if not isinstance(port.host_ip, IPv6Address)
    )


def user_network(world: World | None, *, directory: Path, bridge: str, pods: IPv4Network) -> UserNetwork | None:
    """The one of these namespaces; None for root, whose pods are in the host's network. Raises NetworkError."""
    if world is None:
        return None
    try:
        holder = Fd(os.pidfd_open(world.holder))
        return UserNetwork(netns=world.netns, holder=holder, directory=directory, bridge=bridge, pods=pods)
    except OSError as error:
        raise NetworkError(f"cannot enter the pods' network: {describe_errno(error.errno or 0)}") from error
