"""The doorway to ``nsrun-forward`` (``native/forward_abi.h``): how it is started, asked, and what it answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

import nsrun._native as _native

__all__ = ["ANSWER_SIZE", "Answer", "Forward", "abi", "pack_configuration", "pack_request", "read_answer", "spawn"]

_ffi = _native.ffi
_lib = _native.lib

abi: Final = _lib
"""Every enumerator of forward_abi.h as a plain int: ``abi.NS_FORWARD_ADD`` …"""

_HEAD: Final[int] = _ffi.sizeof("struct ns_forward_answer")
_PORT: Final[int] = _ffi.sizeof("struct ns_forward_port")

ANSWER_SIZE: Final[int] = _HEAD + _PORT * _lib.NS_FORWARD_PORTS_MAX
"""What an answer can have at most, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A port of the host that leads to one of a pod. ``protocol``: ``NS_FORWARD_TCP`` or ``_UDP``; ``host_address``
    0.0.0.0: every one."""

    protocol: int
    host_address: IPv4Address
    host_port: int
    pod_address: IPv4Address
    pod_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``error``: errno, or 0. ``flags``: ``NS_FORWARD_CONFIGURED`` …; ``ports``: only of ``NS_FORWARD_LIST``.

    Connections (TCP) and flows (UDP) there are now, and how many there can be.
    """

    error: int
    flags: int
    connections: int
    connections_max: int
    flows: int
    flows_max: int
    ports: frozenset[Forward]


def spawn(program: str, run_dir_fd: int, title: str) -> int:
    """Starts ``program`` in the run directory; returns its pid once ``forward.sock`` listens there. It is nobody's
    child here. Raises OSError."""
    result: int = _lib.ns_spawn(os.fsencode(program), b"nsrun-forward", run_dir_fd, title.encode())
    if result < 0:
        raise OSError(-result, os.strerror(-result), program)
    return result


def pack_configuration(
    pods: IPv4Network, *, transparent: bool, connect: float, unanswered: float, answered: float
) -> bytes:
    """The first request. ``pods``: whose addresses no client has; the others are limits in seconds."""
    request = _ffi.new("struct ns_forward_request *")
    request.kind = _lib.NS_FORWARD_CONFIGURE
    request.flags = _lib.NS_FORWARD_TRANSPARENT if transparent else 0
    request.network, request.mask = _raw(pods.network_address), _raw(pods.netmask)
    request.connect_ms, request.unanswered_ms = round(connect * 1000), round(unanswered * 1000)
    request.answered_ms = round(answered * 1000)
    return bytes(_ffi.buffer(request))


def pack_request(kind: int, forward: Forward | None = None) -> bytes:
    """Any other."""
    request = _ffi.new("struct ns_forward_request *")
    request.kind = kind
    if forward is not None:
        request.port.protocol = forward.protocol
        request.port.host_address, request.port.host_port = _raw(forward.host_address), forward.host_port
        request.port.pod_address, request.port.pod_port = _raw(forward.pod_address), forward.pod_port
    return bytes(_ffi.buffer(request))


def read_answer(data: bytes) -> Answer:
    """Raises ValueError for what is none."""
    if len(data) < _HEAD:
        raise ValueError("the answer is cut short")
    head = _ffi.from_buffer("struct ns_forward_answer *", data)
    if len(data) != _HEAD + head.count * _PORT:
        raise ValueError("the answer is cut short")
    ports = _ffi.cast("struct ns_forward_port *", _ffi.from_buffer(data) + _HEAD)
    return Answer(
        error=head.error,
        flags=head.flags,
        connections=head.connections,
        connections_max=head.connections_max,
        flows=head.flows,
        flows_max=head.flows_max,
        ports=frozenset(_forward(ports[number]) for number in range(head.count)),
    )


def _forward(port: Any) -> Forward:
    return Forward(
        protocol=port.protocol,
        host_address=_address(port.host_address),
        host_port=port.host_port,
        pod_address=_address(port.pod_address),
        pod_port=port.pod_port,
    )


def _raw(address: IPv4Address) -> int:
    """In network byte order, as C has it in a number."""
    return int.from_bytes(address.packed, "little")


def _address(raw: int) -> IPv4Address:
    return IPv4Address(raw.to_bytes(4, "little"))
