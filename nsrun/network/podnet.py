"""How one pod gets its network: six steps in order, each with its undoing, each of which can be done again.

A crash anywhere leaves the first steps done (the last of them perhaps half): ``attach`` goes on from there, ``detach``
undoes them. The lease is taken first and given back last, so whoever owns anything here is found in the book of leases.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from types import TracebackType

from nsrun.errors import InternalError, NetworkError, describe_errno
from nsrun.model.container import Protocol
from nsrun.model.hostports import HostPort, find_conflict
from nsrun.model.pod import Pod
from nsrun.network.bridge import Bridge, mac_of
from nsrun.network.conntrack import forget_flows
from nsrun.network.files import PodFiles
from nsrun.network.ipam import Lease, LeaseBook
from nsrun.network.netlink import (
    Link,
    RouteSocket,
    add_address,
    add_forwarding_entry,
    add_neighbour,
    add_route,
    add_veth,
    delete_link,
    delete_neighbour,
    set_bridge_port,
    set_link,
    set_master,
)
from nsrun.network.netns import create_pin, open_pin, remove_pin
from nsrun.network.packetfilter import PacketFilter
from nsrun.network.portmap import Member, listening_ports, port_prefix, published_ports
from nsrun.support.fds import Fd
from nsrun.support.idranges import IdRange, IdRanges
from nsrun.support.layout import Layout, PodName

__all__ = ["Plumbing", "Site", "Step", "link_name", "member_of", "parse_alias"]

_INSIDE = "eth0"
_DEFAULT = IPv4Network("0.0.0.0/0")
_ALIAS_MAX = 255  # IFALIASZ, without its NUL
_HOST_NET = Path("/proc/self/net")  # the main thread's, also for a thread that is in another namespace


def link_name(uid: str, bridge: str) -> str:
    """The host-side end of a pod's link: told from bridge and UID, and short enough for an interface (IFNAMSIZ)."""
    return f"{port_prefix(bridge)}{hashlib.sha256(uid.encode()).hexdigest()[:9]}"


def member_of(lease: Lease, bridge: str) -> Member:
    """The pod as the packet filter sees it."""
    return Member(
        link=link_name(lease.uid, bridge), mac=mac_of(lease.address), address=lease.address, ports=lease.ports
    )


def alias_of(lease: Lease, bridge: str) -> str:
    """What ``ip link`` shows beside the host-side end: bridge, UID, name; without the name when both do not fit."""
    alias = f"{bridge} {lease.uid} {lease.name}"
    return alias if len(alias) <= _ALIAS_MAX else f"{bridge} {lease.uid}"[:_ALIAS_MAX]


def parse_alias(alias: str, bridge: str) -> tuple[PodName, str] | None:
    """The pod's name and UID, from what ``alias_of`` wrote for this bridge; None for anything else."""
    words = alias.split(" ")
    if len(words) != 3 or words[0] != bridge:
        return None
    namespace, separator, name = words[2].partition("/")
    return (PodName(namespace=namespace, name=name), words[1]) if separator else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. ``what`` says what doing it does; ``do`` and ``undo`` block, and raise NetworkError or OSError."""

    what: str
    do: Callable[[], None]
    undo: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all pods share."""

    layout: Layout
    bridge: Bridge
    leases: LeaseBook
    filter: PacketFilter
    files: PodFiles


class Plumbing:
    """One pod's steps. Used by one thread, as a context manager: it holds the pod's namespace open between steps."""

    def __init__(self, site: Site, *, name: PodName, uid: str, pod: Pod | None = None) -> None:
        """``pod``: who is to be attached; taking apart goes without. Raises NetworkError for ports it cannot have."""
        self._site = site
        self._name = name
        self._uid = uid
        self._pod = pod
        self._ports: tuple[HostPort, ...] = published_ports(pod) if pod is not None else ()
        self._link = link_name(uid, site.bridge.name)
        self._path = site.layout.netns(name)
        self._ranges = IdRanges(site.layout.id_ranges)
        self._lease: Lease | None = None
        self._namespace: Fd | None = None  # set by ``_pin``, with ``_inside``
        self._inside: RouteSocket | None = None
        self._open = ExitStack()
        self.new = False
        """Whether this object made the pod's lease, so that nothing of the pod was there before."""

    def __enter__(self) -> Plumbing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def steps(self) -> tuple[Step, ...]:
        """In the order of attaching; detaching undoes them in reverse."""
        return (
            Step(what="lease an address and host ports", do=self._take_lease, undo=self._release),
            Step(what="pin a network namespace", do=self._pin, undo=self._unpin),
            Step(what="plug it into the bridge", do=self._plug, undo=self._forget_neighbour),
            Step(what="set address and routes inside", do=self._configure, undo=self._nothing),
            Step(what="let it through the packet filter", do=self._admit, undo=self._expel),
            Step(what="write hosts and resolv.conf", do=self._write_files, undo=self._remove_files),
        )

    @property
    def lease(self) -> Lease:
        """The pod's lease, once the first step was done."""
        if self._lease is None:
            raise InternalError("a pod's network was asked for its lease before it had one")
        return self._lease

    def delete_link(self) -> None:
        """Deletes the link at once, which takes the kernel milliseconds: for a namespace that somebody still holds."""
        with RouteSocket.open() as rtnetlink:
            rtnetlink.send([delete_link(self._link)])

    # --- the lease

    def _take_lease(self) -> None:
        self._lease, self.new = self._site.leases.acquire(self._uid, self._name, self._ports)
        if self.new:
            self._refuse_served_ports()

    def _refuse_served_ports(self) -> None:
        """A port that a program of the host serves is not taken away from it (the rules would win over its socket)."""
        for protocol in {port.protocol for port in self._ports}:
            for table in _socket_tables(protocol):
                clash = find_conflict(self._ports, listening_ports(table, protocol))
                if clash is not None:
                    raise NetworkError(
                        f'cannot publish host port {clash} for pod "{self._name}": a program of this host serves it',
                        hint=f"see ss -lnp 'sport = {clash.host_port}', or choose another hostPort",
                    )

    def _release(self) -> None:
        self._site.leases.release(self._uid)

    def _known_lease(self) -> Lease | None:
        """The lease as the book has it, for undoing."""
        if self._lease is None:
            self._lease = self._site.leases.find(self._uid)
        return self._lease

    # --- the namespace

    def _pin(self) -> None:
        opened = open_pin(self._path)
        if opened is not None and not self._is_usable(opened[1]):
            opened[1].close()
            opened[0].close()
            remove_pin(self._path)
            opened = None
        namespace, inside = opened if opened is not None else create_pin(self._path, self._own_ids())
        self._namespace = self._open.enter_context(namespace)
        self._inside = self._open.enter_context(inside)

    def _own_ids(self) -> IdRange | None:
        """Those of the pod's user namespace, which its network namespace belongs to and holds."""
        if self._pod is None or self._pod.spec.host_users:
            return None
        return self._ranges.acquire(self._uid)

    def _is_usable(self, inside: RouteSocket) -> bool:
        """True: it is this pod's, or empty. False: an earlier pod of the same name left it. Raises for a stranger's."""
        plug = _plug_in(inside)
        if plug is None:
            return self._own_ids() is None  # nobody can tell whose ids an empty one has
        if plug.mac == mac_of(self.lease.address):
            return True
        if self._site.bridge.owns(plug.mac):
            return False
        raise NetworkError(
            f'cannot use network namespace "{self._path}" for pod "{self._name}": it is in use, and not by this nsrun',
            hint="a pod of this name may run on another bridge: give this one another name or namespace",
        )

    def _unpin(self) -> None:
        """The kernel takes down the namespace and both ends of the link, soon after the last process in it ends."""
        lease = self._known_lease()
        if lease is not None:
            self._remove_pin(lease)
        self._ranges.release(self._uid)

    def _remove_pin(self, lease: Lease) -> None:
        opened = open_pin(self._path)
        if opened is None:
            remove_pin(self._path)  # half a pin
            return
        with opened[0], opened[1] as inside:
            plug = _plug_in(inside)
        if plug is None or plug.mac == mac_of(lease.address):
            remove_pin(self._path)

    # --- the link

    def _plug(self) -> None:
        if self._inside is None or self._namespace is None:
            raise InternalError("a pod was to be plugged in before it had a namespace")
        mac = mac_of(self.lease.address)
        with RouteSocket.open() as rtnetlink:
            bridge = _index(self._site.bridge.name)
            if bridge == 0:
                raise NetworkError(
                    f'cannot plug in pod "{self._name}": bridge "{self._site.bridge.name}" is gone',
                    hint="restart nsrun",
                )
            if self._inside.index(_INSIDE) and _index(self._link):
                rtnetlink.send([set_master(self._link, bridge)])  # the bridge may be another than it was
            else:
                creation = add_veth(
                    self._link,
                    bridge=bridge,
                    peer=_INSIDE,
                    peer_mac=mac,
                    netns=self._namespace.fileno(),
                    mtu=self._site.bridge.mtu,
                )
                # A link that leads elsewhere belongs to a namespace of this pod whose pin was lost.
                rtnetlink.send([delete_link(self._link), creation] if _index(self._link) else [creation])
            rtnetlink.send(
                [
                    set_bridge_port(
                        self._link, alias=alias_of(self.lease, self._site.bridge.name), ipv6=self._site.bridge.ipv6
                    ),
                    add_forwarding_entry(_index(self._link), mac),
                    add_neighbour(bridge, self.lease.address, mac),
                ]
            )

    def _forget_neighbour(self) -> None:
        lease, bridge = self._known_lease(), _index(self._site.bridge.name)
        if lease is not None and bridge:
            with RouteSocket.open() as rtnetlink:
                rtnetlink.send([delete_neighbour(bridge, lease.address)])

    def _configure(self) -> None:
        if self._inside is None:
            raise InternalError("a pod was to get its address before it had a namespace")
        link, gateway = self._inside.index(_INSIDE), self._site.bridge.gateway.ip
        self._inside.send(
            [
                set_link(_INSIDE, ipv6=self._site.bridge.ipv6),
                add_address(link, IPv4Interface((self.lease.address, 32))),
                add_route(link, IPv4Network((gateway, 32)), gateway=None),
                add_route(link, _DEFAULT, gateway=gateway),
                add_neighbour(link, gateway, mac_of(gateway)),
            ]
        )

    def _nothing(self) -> None:
        """What is inside the namespace goes with it."""

    # --- the packet filter

    def _admit(self) -> None:
        self._site.filter.admit(member_of(self.lease, self._site.bridge.name))
        published = {port.host_port for port in self._udp_ports(self.lease)}
        if published:
            with RouteSocket.open() as rtnetlink:
                own = {address.ip for _, address in rtnetlink.addresses()}
            here = self.lease.address
            forget_flows(lambda f: f.port in published and f.destination in own and f.answered_by != here)

    def _expel(self) -> None:
        lease = self._known_lease()
        if lease is not None:
            self._site.filter.expel(member_of(lease, self._site.bridge.name))
            if self._udp_ports(lease):
                forget_flows(lambda flow: flow.answered_by == lease.address)

    def _udp_ports(self, lease: Lease) -> tuple[HostPort, ...]:
        return tuple(port for port in lease.ports if port.protocol is Protocol.UDP)

    # --- files

    def _write_files(self) -> None:
        if self._pod is None:
            raise InternalError("files were to be written for a pod that is not known")
        self._site.files.write(self._pod, self.lease.address, new=self.new)

    def _remove_files(self) -> None:
        self._site.files.remove(self._uid)


def _plug_in(inside: RouteSocket) -> Link | None:
    """The pod's end of a link, in its namespace."""
    return next((link for link in inside.links() if link.name == _INSIDE), None)


def _index(link: str) -> int:
    """0 when there is no such interface in this thread's namespace."""
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return 0


def _socket_tables(protocol: Protocol) -> tuple[str, ...]:
    """The host's tables of sockets, IPv4's and IPv6's."""
    name = protocol.lower()
    paths = (_HOST_NET / name, _HOST_NET / f"{name}6")
    try:
        return tuple(path.read_text() for path in paths if path.exists())
    except OSError as error:
        raise NetworkError(f"cannot list the sockets of this host: {describe_errno(error.errno or 0)}") from error
