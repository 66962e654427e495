"""The pod network as the supervisor sees it."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from threading import Lock

from nsrun.errors import NetworkError, describe_errno, remedy_for_errno
from nsrun.model.figures import InterfaceFigures, NetworkFigures
from nsrun.model.hostname import kernel_hostname
from nsrun.model.hostports import HostPort, host_ports
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment
from nsrun.network.bridge import Bridge
from nsrun.network.counters import link_counters, of_pod
from nsrun.network.dial import CONNECT_SECONDS, dial_loopback
from nsrun.network.dns import ClusterDns
from nsrun.network.files import HostFiles, PodFiles
from nsrun.network.forwarding import Forwarding
from nsrun.network.guests import Guest, GuestBook
from nsrun.network.home import Home, HostHome
from nsrun.network.ipam import Lease, LeaseBook
from nsrun.network.netlink import RouteSocket
from nsrun.network.nft import Nftables
from nsrun.network.packetfilter import PacketFilter
from nsrun.network.podnet import Plumbing, Site, link_name, member_of, parse_alias
from nsrun.network.portmap import Member, port_prefix
from nsrun.network.sysctls import Sysctls
from nsrun.network.tablewatch import TABLE_WATCH, table_deletions
from nsrun.network.usernet import LINK_LOCAL, UserNetwork
from nsrun.support.layout import Layout, PodName

__all__ = ["NetworkService"]

log = logging.getLogger(__name__)

_SOMEWHERE_ELSE = "192.0.2.1"  # TEST-NET-1: nothing is sent there, only the route is looked up
_LINK_GRACE = 0.5  # seconds in which the kernel takes down a namespace that nobody holds
_LINK_POLL = 0.002
_STRIPES = 64
_SIOCGIFINDEX = 0x8933
_INTERFACE = struct.Struct("16si20x")  # struct ifreq, with an index
_Counters = Mapping[str, InterfaceFigures]
_NO_HARDWARE = ("veth", "docker", "nerdctl")  # as cAdvisor leaves them out (lib/container/libcontainer/handler.go)


class NetworkService:
    """Bridge, addresses, namespaces, host ports. ``start`` comes first; every method may be called again.

    The work is done in threads of its home; two calls for pods of one name wait for each other, also when the first was
    cancelled (its thread goes on to the end of what it does).
    """

    def __init__(
        self,
        *,
        layout: Layout,
        pod_cidr: IPv4Network,
        bridge: str = "nsrun0",
        host_files: HostFiles | None = None,
        cluster_dns: ClusterDns | None = None,
        user: UserNetwork | None = None,
        home: Home | None = None,
    ) -> None:
        """``user``: the network of a user who is not root, where all of it is then; otherwise it is in ``home``, by
        default this process's own network namespace, which is the host's.

        Raises NetworkError for a range too small for one pod."""
        self._layout = layout
        self._host = HostHome()
        self._user = user
        self._home: Home = user.home if user is not None else home or self._host
        self._pod_cidr = pod_cidr
        self._cluster_dns = cluster_dns if cluster_dns is not None else ClusterDns()
        nft = Nftables()
        self._sysctls = Sysctls(layout.sysctls)
        self._bridge = Bridge(name=bridge, pods=pod_cidr, sysctls=self._sysctls, run_dir=layout.run_dir)
        self._guests = GuestBook(layout.guests)
        self._leases = LeaseBook(layout.leases, pod_cidr, last=layout.last_address, guests=self._guests)
        self._files = PodFiles(
            layout,
            host=host_files or HostFiles(),
            cluster=self._cluster_dns,
            name_server=lambda: user.name_server if user is not None else "",
        )
        self._filter = PacketFilter(
            nft=nft,
            bridge=bridge,
            pods=pod_cidr,
            members=self._members,
            closed=LINK_LOCAL if user is not None else None,
        )
        self._forwarding = Forwarding(nft=nft, bridge=bridge)
        self._site = Site(
            layout=layout,
            bridge=self._bridge,
            leases=self._leases,
            filter=self._filter,
            files=self._files,
        )
        self._locks = tuple(Lock() for _ in range(_STRIPES))  # by pod name

    async def start(self) -> tuple[str, ...]:
        """Bridge, packet filter, settings: made, completed, or repaired. Pods that are attached stay so.

        Returns what this machine withholds, one sentence each. Raises NetworkError.
        """
        if self._user is None:
            return await self._home.run(self._start)
        # First: the bridge's MTU is that of the way out.
        withheld = await self._user.start()
        return withheld + await self._home.run(self._start) + await self._user.open(self._leases.all)

    @property
    def host_address(self) -> str:
        """Where pods reach this host at first: its address towards the default route. It may be another later."""
        return str(self._host_address())

    async def socket_towards(self, family: int, address: str) -> socket.socket:
        """A TCP socket for a connection to the address: where the pods are when it is one of theirs, else the host's.

        Raises OSError, NetworkError."""
        home = self._home if _is_in(address, self._pod_cidr) else self._host
        return await home.socket(family, socket.SOCK_STREAM)

    async def guard(self) -> None:
        """Makes again whatever somebody else takes away of what belongs to no single pod. Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._guard_filter())
            if self._user is not None:
                group.create_task(self._user.keep())

    async def _guard_filter(self) -> None:
        """The packet filter's tables, whenever somebody flushes the whole ruleset."""
        with await self._home.socket(*TABLE_WATCH) as watch:
            async for _ in table_deletions(watch):
                try:
                    repaired = await self._home.run(self._filter.repair)
                    if self._user is not None:
                        repaired |= await self._user.repair()
                    if repaired:
                        log.warning("The packet filter was flushed by another program; its tables were made again")
                except NetworkError as error:
                    log.warning("The packet filter was flushed by another program: %s", error)

    async def attach(self, pod: Pod) -> Attachment:
        """Namespace, veth, address, routes, host ports and hosts files for the pod. Raises NetworkError.

        An attempt that fails leaves nothing behind, unless the pod was attached before.
        """
        host_ip = await self._host.run(self._host_address)
        if pod.spec.host_network:
            return await self._host.run(self._admit_guest, pod, str(host_ip))
        attachment, new = await self._home.run(self._attach, pod, str(host_ip))
        return attachment if self._user is None else await self._publish(pod, attachment, new=new)

    async def _publish(self, pod: Pod, attachment: Attachment, *, new: bool) -> Attachment:
        """Lets host ports lead to the pod. One that is ``new`` is turned away when it cannot have all of its own."""
        assert self._user is not None
        try:
            missing = await self._user.publish(pod.uid)
            if missing and new:
                raise NetworkError(f'cannot publish the host ports of pod "{pod.name}": {"; ".join(missing)}')
        except NetworkError:
            if new:
                await self.detach(pod.name, pod.uid)
            raise
        return replace(attachment, warnings=(*attachment.warnings, *missing))

    async def connect(self, name: PodName, port: int) -> socket.socket:
        """A TCP connection to a port of the pod's own loopback address. Raises NetworkError."""
        subject = f'cannot connect to port {port} of pod "{name}"'
        try:
            guests = await asyncio.to_thread(self._guests.all)
            pin = None if any(guest.name == name for guest in guests) else self._layout.netns(name)
            return await dial_loopback(pin, port)
        except FileNotFoundError:
            raise NetworkError(f"{subject}: it has no network here") from None
        except TimeoutError:
            raise NetworkError(f"{subject}: no answer within {CONNECT_SECONDS:g} s") from None
        except OSError as error:
            raise _failure(subject, error) from error

    async def detach(self, name: PodName, uid: str) -> None:
        """Removes all of it, also of a pod that was attached half or not at all. Raises NetworkError."""
        if self._user is not None:
            await self._user.withdraw(uid)
        await self._home.run(self._detach, name, uid)
        with await self._home.socket(socket.AF_INET, socket.SOCK_DGRAM) as interfaces:
            gone = await _gone(interfaces, link_name(uid, self._bridge.name))
        if not gone:
            await self._home.run(self._delete_link, name, uid)
        # Last: from here on the address may be another pod's.
        await self._home.run(self._release, uid)

    async def owners(self) -> frozenset[tuple[PodName, str]]:
        """Pods (name and UID) that own something here now: they have a lease, or a link that says whose it is, or are
        guests of the host's network."""
        return await self._home.run(self._owners)

    async def figures(self, uids: Collection[str]) -> NetworkFigures:
        """What went through the machine's interfaces, and those of these pods. Raises NetworkError."""
        inside = await self._home.run(_counters)
        return self._figures(inside, inside if self._home is self._host else await self._host.run(_counters), uids)

    async def tear_down(self) -> None:
        """Removes the bridge and the tables: everything that belongs to no single pod. Raises NetworkError."""
        if self._user is not None:
            await self._user.stop()
        await self._home.run(self._tear_down)

    # --- what follows blocks

    def _start(self) -> tuple[str, ...]:
        try:
            self._leases.clear_debris()
            self._guests.clear_debris()
            self._check_leases()
        except OSError as error:
            raise _failure(f'cannot read the leases in "{self._layout.leases}"', error) from error
        return self._bridge.ensure(filters=self._filter.rebuild) + self._forwarding.allow()

    def _check_leases(self) -> None:
        for lease in self._leases.all():
            if lease.address not in self._pod_cidr:
                raise NetworkError(
                    f'cannot use {self._pod_cidr} for pods: pod "{lease.name}" runs at {lease.address}',
                    hint="go back to the range it was started with, or run nsrun down first",
                )

    def _attach(self, pod: Pod, host_ip: str) -> tuple[Attachment, bool]:
        """And whether nothing of the pod was there before."""
        name = self._kernel_hostname(pod)
        with self._lock(pod.name), Plumbing(self._site, name=pod.name, uid=pod.uid, pod=pod) as plumbing:
            steps = plumbing.steps()
            try:
                for step in steps:
                    step.do()
            except BaseException as error:
                if plumbing.new:
                    self._undo(plumbing)
                if isinstance(error, OSError):
                    raise _failure(f'cannot attach pod "{pod.name}" to the network', error) from error
                raise
            attachment = Attachment(
                netns=str(self._layout.netns(pod.name)),
                address=str(plumbing.lease.address),
                gateway=str(self._bridge.gateway.ip),
                host_ip=host_ip,
                hostname=name,
                warnings=self._files.warnings(pod),
            )
            return attachment, plumbing.new

    def _admit_guest(self, pod: Pod, host_ip: str) -> Attachment:
        """A pod in the host's network: nothing but its files, and the ports that nobody else gets now."""
        guest = Guest(uid=pod.uid, name=pod.name, ports=_ports_of(pod))
        with self._lock(pod.name):
            new = self._leases.admit(guest)
            try:
                self._files.write(pod, None, new=new)
            except BaseException as error:
                if new:
                    with suppress(OSError):
                        self._files.remove(pod.uid)
                        self._guests.release(pod.uid)
                if isinstance(error, OSError):
                    raise _failure(f'cannot attach pod "{pod.name}" to the network', error) from error
                raise
        return Attachment(
            netns="",
            address=host_ip,
            gateway="",
            host_ip=host_ip,
            hostname=socket.gethostname(),
            warnings=self._files.warnings(pod),
        )

    def _kernel_hostname(self, pod: Pod) -> str:
        try:
            return kernel_hostname(pod, self._cluster_dns.domain)
        except ValueError as error:
            raise NetworkError(
                f'cannot construct the FQDN of pod "{pod.name}" from its hostname and the cluster domain: {error}',
                hint="leave setHostnameAsFQDN out, or choose a shorter hostname or subdomain",
            ) from None

    def _undo(self, plumbing: Plumbing) -> None:
        """After a failed first attempt: everything. What cannot be undone now, ``detach`` finds by its lease."""
        first, *others = plumbing.steps()
        with suppress(NetworkError, OSError):
            for step in reversed(others):
                step.undo()
            plumbing.delete_link()
            first.undo()

    def _detach(self, name: PodName, uid: str) -> None:
        with self._lock(name), Plumbing(self._site, name=name, uid=uid) as plumbing:
            try:
                for step in reversed(plumbing.steps()[1:]):
                    step.undo()
            except OSError as error:
                raise _failure(f'cannot detach pod "{name}" from the network', error) from error

    def _delete_link(self, name: PodName, uid: str) -> None:
        with self._lock(name), Plumbing(self._site, name=name, uid=uid) as plumbing:
            plumbing.delete_link()

    def _release(self, uid: str) -> None:
        try:
            self._leases.release(uid)
            self._guests.release(uid)
        except OSError as error:
            raise _failure(f'cannot release the address of pod "{uid}"', error) from error

    def _owners(self) -> frozenset[tuple[PodName, str]]:
        booked: list[Lease | Guest] = [*self._leases.all(), *self._guests.all()]
        leased = frozenset((tenant.name, tenant.uid) for tenant in booked)
        if self._bridge.is_foreign():
            return leased
        with RouteSocket.open() as rtnetlink:
            aliases = (parse_alias(link.alias, self._bridge.name) for link in rtnetlink.links() if link.kind == "veth")
            return leased | {owner for owner in aliases if owner is not None}

    def _figures(self, inside: _Counters, outside: _Counters, uids: Collection[str]) -> NetworkFigures:
        bridge = self._bridge.name
        theirs = {uid: inside.get(link_name(uid, bridge)) for uid in uids}
        not_ours = ("lo", bridge, port_prefix(bridge), *_NO_HARDWARE)
        return NetworkFigures(
            time=time.time(),
            monotonic=time.monotonic(),
            host=tuple(link for name, link in sorted(outside.items()) if not name.startswith(not_ours)),
            pods={uid: (of_pod(link, "eth0"),) for uid, link in theirs.items() if link is not None},
        )

    def _tear_down(self) -> None:
        try:
            if not self._bridge.is_foreign():
                self._forwarding.withdraw()
                self._bridge.remove()
                self._filter.remove()
            self._guests.remove()
            self._leases.remove()
        except OSError as error:
            raise _failure("cannot remove the pod network", error) from error

    def _lock(self, name: PodName) -> Lock:
        return self._locks[hash(name) % _STRIPES]

    def _members(self) -> Sequence[Member]:
        return tuple(member_of(lease, self._bridge.name) for lease in self._leases.all())

    def _host_address(self) -> IPv4Address:
        """This host's address towards the default route, else its first that is not loopback, else the bridge's."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((_SOMEWHERE_ELSE, 9))
                return IPv4Address(probe.getsockname()[0])
            except OSError:
                pass  # no default route
        with RouteSocket.open() as rtnetlink:
            found = [address.ip for _, address in rtnetlink.addresses() if not address.is_loopback]
        return next((address for address in found if address != self._bridge.gateway.ip), self._bridge.gateway.ip)


async def _gone(interfaces: socket.socket, link: str) -> bool:
    """Waits for the kernel to take the link down with its namespace. False: it is still there after a grace.

    ``interfaces``: a socket of the link's network namespace (netdevice(7)), whichever this thread's own is."""
    try:
        async with asyncio.timeout(_LINK_GRACE):
            while True:
                try:
                    fcntl.ioctl(interfaces, _SIOCGIFINDEX, _INTERFACE.pack(link.encode(), 0))
                except OSError:
                    return True
                await asyncio.sleep(_LINK_POLL)
    except TimeoutError:
        return False


def _counters() -> _Counters:
    try:
        return link_counters()
    except OSError as error:
        raise _failure("cannot read the counters of the network interfaces", error) from error


def _is_in(address: str, network: IPv4Network) -> bool:
    try:
        return IPv4Address(address) in network
    except AddressValueError:
        return False


def _ports_of(pod: Pod) -> tuple[HostPort, ...]:
    try:
        return host_ports(pod)
    except ValueError as error:
        raise NetworkError(f'cannot take the ports of pod "{pod.name}": {error}') from None


def _failure(what: str, error: OSError) -> NetworkError:
    number = error.errno or 0
    return NetworkError(f"{what}: {describe_errno(number)}", hint=remedy_for_errno(number))
