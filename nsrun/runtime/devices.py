"""Which devices a container may use: the OCI's default ones (config-linux.md), whatever device files it makes or finds.

A manifest may ask for CAP_MKNOD; without this a container could then make itself the host's disk. Making any device
file stays allowed, as runc has it: image builders do, and a file that cannot be opened is harmless.

cgroup v2 asks an eBPF program (BPF_PROG_TYPE_CGROUP_DEVICE), and of several that of the nearest cgroup: our top cgroup
has the strict one, a privileged container's own lets everything through. v1 has files that take lines; there nobody can
be given back what a cgroup above was denied, so each container's own cgroup has them, but for privileged ones.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DEFAULT_DEVICES", "EVERY_DEVICE", "Device", "device_program", "v1_lines"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A character device that may be read and written. ``minor`` None: every one of the driver's."""

    major: int
    minor: int | None


DEFAULT_DEVICES = (
    Device(major=1, minor=3),  # null
    Device(major=1, minor=5),  # zero
    Device(major=1, minor=7),  # full
    Device(major=1, minor=8),  # random
    Device(major=1, minor=9),  # urandom
    Device(major=5, minor=0),  # tty
    Device(major=5, minor=1),  # console
    Device(major=5, minor=2),  # ptmx
    Device(major=136, minor=None),  # pts/*
)


def v1_lines(devices: Sequence[Device]) -> tuple[str, ...]:
    """What ``devices.allow`` takes, after everything was denied."""
    return (
        "c *:* m",
        "b *:* m",
        *(f"c {d.major}:{'*' if d.minor is None else d.minor} rwm" for d in devices),
    )


# Instructions, from linux/bpf.h: class | source | operation.
_LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
_AND = 0x54  # dst &= immediate, 32 bits
_SHIFT_RIGHT = 0x74  # dst >>= immediate, 32 bits
_JUMP_UNLESS = 0x56  # if dst != immediate, 32 bits
_MOVE = 0xB7  # dst = immediate
_COPY = 0xBC  # dst = src, 32 bits
_EXIT = 0x95

_ANSWER, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)  # registers
_CHARACTER, _MKNOD = 2, 1  # BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_MKNOD


def device_program(devices: Sequence[Device]) -> bytes:
    """eBPF that answers 1 when a device may be used. Its context: ``{access << 16 | type, major, minor}``, u32 each."""
    code = [
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT),
        _instruction(_COPY, _ACCESS, _TYPE),
        _instruction(_AND, _TYPE, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, value=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
        *_allow_if((_ACCESS, _MKNOD)),
    ]
    for device in devices:
        minor = () if device.minor is None else ((_MINOR, device.minor),)
        code += _allow_if((_TYPE, _CHARACTER), (_MAJOR, device.major), *minor)
    return b"".join([*code, *_answer(0)])


def _allow_if(*conditions: tuple[int, int]) -> list[bytes]:
    """Ends with 1 when each register holds its value; goes on behind otherwise."""
    answer = _answer(1)
    jumps = []
    for number, (register, value) in enumerate(conditions):
        behind = len(conditions) - number - 1 + len(answer)
        jumps.append(_instruction(_JUMP_UNLESS, register, offset=behind, value=value))
    return [*jumps, *answer]


def _answer(value: int) -> list[bytes]:
    return [_instruction(_MOVE, _ANSWER, value=value), _instruction(_EXIT)]


def _instruction(code: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | target, offset, value)


EVERY_DEVICE = b"".join(_answer(1))
"""eBPF that lets every device be used: in the cgroup of a privileged container it takes the other's place."""
