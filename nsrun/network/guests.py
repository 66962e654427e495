"""Pods in the host's own network: they have no lease, but they take ports, and they are found again after a restart.

One small file per pod, named by its UID, which says who it is and which ports it takes. The book of leases asks here
before it gives a port away, and this one asks there; both under one lock.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nsrun.model.hostports import HostPort
from nsrun.network.portjson import decode_ports, encode_ports
from nsrun.support.atomic import write_atomic
from nsrun.support.layout import PodName

__all__ = ["Guest", "GuestBook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A pod in the host's network, and the ports of the host that it says it serves."""

    uid: str
    name: PodName
    ports: tuple[HostPort, ...] = ()


class GuestBook:
    """The directory of such pods. Methods block on files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> tuple[Guest, ...]:
        """Every one, by UID. Raises OSError."""
        try:
            names = sorted(name for name in os.listdir(self._directory) if not name.startswith("."))
        except FileNotFoundError:
            return ()
        return tuple(guest for guest in map(self._read, names) if guest is not None)

    def add(self, guest: Guest) -> None:
        """Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = {
            "namespace": guest.name.namespace,
            "name": guest.name.name,
            "ports": encode_ports(guest.ports),
        }
        write_atomic(self._directory / guest.uid, json.dumps(document).encode() + b"\n", mode=0o600, durable=False)

    def release(self, uid: str) -> None:
        """It need not be there. Raises OSError."""
        (self._directory / uid).unlink(missing_ok=True)

    def clear_debris(self) -> None:
        """Removes what crashed writers left. Raises OSError."""
        with suppress(FileNotFoundError), os.scandir(self._directory) as entries:
            for entry in [entry for entry in entries if entry.name.startswith(".")]:
                os.unlink(entry.path)

    def remove(self) -> None:
        """Deletes the book when nobody is in it."""
        with suppress(OSError):
            self._directory.rmdir()

    def _read(self, uid: str) -> Guest | None:
        try:
            document = json.loads((self._directory / uid).read_bytes())
            name = PodName(namespace=str(document["namespace"]), name=str(document["name"]))
            return Guest(uid=uid, name=name, ports=decode_ports(document["ports"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # released this moment, or not ours
