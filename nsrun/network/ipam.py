"""Addresses and host ports: who has which, kept as one small file per address.

The file's name is the address, its content the pod that has it (UID, name) and the host ports that lead there. A file
comes into being whole, by ``link``, which fails when the address is taken: two processes cannot lease one address, and
a crash leaves a lease or none. From these files alone the packet filter can be built again.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from nsrun.errors import NetworkError, describe_errno, remedy_for_errno
from nsrun.model.hostports import HostPort, find_conflict
from nsrun.network.guests import Guest, GuestBook
from nsrun.network.portjson import decode_ports, encode_ports
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd
from nsrun.support.layout import PodName

__all__ = ["Lease", "LeaseBook", "decode_lease", "encode_lease", "next_address"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An address that a pod has, and the host ports that lead to it."""

    address: IPv4Address
    uid: str
    name: PodName
    ports: tuple[HostPort, ...] = ()


def encode_lease(lease: Lease) -> bytes:
    """The content of the lease's file: one line of JSON."""
    document = {
        "uid": lease.uid,
        "namespace": lease.name.namespace,
        "name": lease.name.name,
        "ports": encode_ports(lease.ports),
    }
    return json.dumps(document).encode() + b"\n"


def decode_lease(address: IPv4Address, content: bytes) -> Lease:
    """Raises ValueError when the content is not what ``encode_lease`` writes."""
    try:
        document = json.loads(content)
        ports = decode_ports(document["ports"])
        name = PodName(namespace=str(document["namespace"]), name=str(document["name"]))
        return Lease(address=address, uid=str(document["uid"]), name=name, ports=ports)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a lease: {error}") from error


def next_address(network: IPv4Network, taken: frozenset[IPv4Address], last: IPv4Address | None) -> IPv4Address | None:
    """The first free address after ``last``, round and round; None when all are taken.

    The network's own address, the gateway (its first) and the broadcast address are never given out. An address rests
    as long as possible before it is used again, so that what still remembers its last owner has time to forget.
    """
    first, end = int(network.network_address) + 2, int(network.broadcast_address)
    size = end - first
    start = int(last) + 1 - first if last is not None else 0
    for step in range(min(size, len(taken) + 1)):
        candidate = IPv4Address(first + (start + step) % size)
        if candidate not in taken:
            return candidate
    return None


class LeaseBook:
    """The directory of leases. Methods block on files; several threads and processes may call them at once."""

    def __init__(self, directory: Path, network: IPv4Network, *, last: Path, guests: GuestBook) -> None:
        """``last``: the file that names the address given out last. It may be lost. ``guests``: who takes host ports
        and has no address."""
        self._directory = directory
        self._network = network
        self._last = last
        self._guests = guests
        # What was read of each file, by (address, inode): a lease file never changes between its birth and its end.
        self._seen: Mapping[tuple[str, int], Lease] = {}

    def all(self) -> tuple[Lease, ...]:
        """Every lease, by address. Raises OSError."""
        seen = self._seen
        found: dict[tuple[str, int], Lease] = {}
        for key in self._entries():
            lease = seen.get(key) or self._read(key[0])
            if lease is not None:
                found[key] = lease
        self._seen = found
        return tuple(sorted(found.values(), key=lambda lease: lease.address))

    def find(self, uid: str) -> Lease | None:
        """The pod's lease. Raises OSError."""
        return next((lease for lease in self.all() if lease.uid == uid), None)

    def acquire(self, uid: str, name: PodName, ports: tuple[HostPort, ...]) -> tuple[Lease, bool]:
        """The pod's lease, and whether it is new; the same UID gets the same address back.

        Raises NetworkError when no address is free or a host port belongs to another pod.
        """
        try:
            with self._exclusive():
                return self._acquire(uid, name, ports)
        except OSError as error:
            raise NetworkError(
                f'cannot lease an address for pod "{name}": {describe_errno(error.errno or 0)}',
                hint=remedy_for_errno(error.errno or 0),
            ) from error

    def admit(self, guest: Guest) -> bool:
        """Enters a pod of the host's network into the book of guests; whether it is new there.

        Raises NetworkError when a host port belongs to another pod.
        """
        try:
            with self._exclusive():
                if any(other.uid == guest.uid for other in self._guests.all()):
                    return False
                self._refuse_taken(guest.uid, guest.name, guest.ports)
                self._guests.add(guest)
                return True
        except OSError as error:
            raise NetworkError(
                f'cannot take host ports for pod "{guest.name}": {describe_errno(error.errno or 0)}',
                hint=remedy_for_errno(error.errno or 0),
            ) from error

    def _refuse_taken(self, uid: str, name: PodName, ports: tuple[HostPort, ...]) -> None:
        others: list[Lease | Guest] = [*self.all(), *self._guests.all()]
        for other in others:
            clash = find_conflict(ports, other.ports) if other.uid != uid else None
            if clash is not None:
                raise NetworkError(
                    f'cannot publish host port {clash} for pod "{name}": pod "{other.name}" has it',
                    hint="choose another hostPort, or remove that pod",
                )

    def release(self, uid: str) -> None:
        """The pod's address and host ports are free again. Raises OSError."""
        for lease in self.all():
            if lease.uid == uid:
                (self._directory / str(lease.address)).unlink(missing_ok=True)

    def clear_debris(self) -> None:
        """Removes what crashed writers left, and files that are no leases at all. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._exclusive():
            whole = {str(lease.address) for lease in self.all()}
            for entry in list(os.scandir(self._directory)):
                if entry.name not in whole:
                    os.unlink(entry.path)

    def remove(self) -> None:
        """Deletes the book when nobody has a lease. Raises OSError."""
        with suppress(FileNotFoundError):
            self._directory.rmdir()
        self._last.unlink(missing_ok=True)
        with suppress(OSError):  # something else is still in there
            self._last.parent.rmdir()

    def _acquire(self, uid: str, name: PodName, ports: tuple[HostPort, ...]) -> tuple[Lease, bool]:
        leases = self.all()
        for lease in leases:
            if lease.uid == uid:
                return lease, False
        self._refuse_taken(uid, name, ports)
        lease = Lease(address=self._network.network_address, uid=uid, name=name, ports=ports)
        return self._write_first_free(lease, frozenset(lease.address for lease in leases)), True

    def _write_first_free(self, lease: Lease, taken: frozenset[IPv4Address]) -> Lease:
        last = self._read_last()
        while True:
            address = next_address(self._network, taken, last)
            if address is None:
                raise NetworkError(
                    f'cannot lease an address for pod "{lease.name}": all {len(taken)} of {self._network} are taken',
                    hint="choose a larger range with --pod-cidr",
                )
            lease = replace(lease, address=address)
            if self._link(lease):
                write_atomic(self._last, f"{address}\n".encode(), durable=False)
                return lease
            taken |= {address}

    def _link(self, lease: Lease) -> bool:
        """Writes the lease's file in one step; False when the address is taken."""
        temporary = self._directory / f".{lease.address}.{secrets.token_hex(4)}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, encode_lease(lease))
            os.link(temporary, self._directory / str(lease.address))
        except FileExistsError:
            return False
        finally:
            os.close(fd)
            temporary.unlink()
        return True

    def _entries(self) -> Iterator[tuple[str, int]]:
        try:
            with os.scandir(self._directory) as entries:
                yield from [(entry.name, entry.inode()) for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            return

    def _read(self, file_name: str) -> Lease | None:
        try:
            return decode_lease(IPv4Address(file_name), (self._directory / file_name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None  # released this moment, or not ours

    def _read_last(self) -> IPv4Address | None:
        try:
            last = IPv4Address(self._last.read_text().strip())
        except (FileNotFoundError, ValueError):
            return None
        return last if last in self._network else None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One writer at a time, over threads and processes: each holder has its own open file description."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with Fd.open(self._directory, os.O_RDONLY | os.O_DIRECTORY) as directory:
            fcntl.flock(directory.fileno(), fcntl.LOCK_EX)
            yield
