"""The device program, run by an interpreter of the few instructions it uses."""

from __future__ import annotations

import struct

import pytest

from nsrun.runtime.devices import DEFAULT_DEVICES, Device, device_program, v1_lines

BLOCK, CHARACTER = 1, 2
MKNOD, READ, WRITE = 1, 2, 4


def interpret(program: bytes, context: tuple[int, int, int]) -> int:
    """eBPF, as the instruction set's document has it."""
    registers, memory, pc = [0] * 11, struct.pack("<III", *context), 0
    while True:
        code, names, offset, value = struct.unpack_from("<BBhi", program, pc * 8)
        target, source = names & 15, names >> 4
        pc += 1
        if code == 0x95:
            return registers[0]
        if code == 0x61:
            assert source == 1
            registers[target] = struct.unpack_from("<I", memory, offset)[0]
        elif code == 0x54:
            registers[target] &= value
        elif code == 0x74:
            registers[target] >>= value
        elif code == 0xB7:
            registers[target] = value
        elif code == 0xBC:
            registers[target] = registers[source]
        elif code == 0x56:
            pc += offset if registers[target] != value else 0
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


def allowed(kind: int, access: int, major: int, minor: int) -> bool:
    return bool(interpret(device_program(DEFAULT_DEVICES), (access << 16 | kind, major, minor)))


@pytest.mark.parametrize("minor", [3, 5, 7, 8, 9])
@pytest.mark.parametrize("access", [READ, WRITE, READ | WRITE, MKNOD, MKNOD | READ | WRITE])
def test_default_devices_are_allowed(minor: int, access: int) -> None:
    assert allowed(CHARACTER, access, 1, minor)


@pytest.mark.parametrize(
    ("kind", "major", "minor"), [(CHARACTER, 1, 1), (CHARACTER, 10, 229), (BLOCK, 1, 3), (BLOCK, 8, 0)]
)
def test_all_else_can_be_made_and_not_opened(kind: int, major: int, minor: int) -> None:
    assert allowed(kind, MKNOD, major, minor)
    for access in (READ, WRITE, READ | WRITE, MKNOD | READ, MKNOD | WRITE):
        assert not allowed(kind, access, major, minor)


def test_every_terminal_of_a_container_is_allowed() -> None:
    assert allowed(CHARACTER, READ | WRITE, 136, 0)
    assert allowed(CHARACTER, READ | WRITE, 136, 4000)
    assert not allowed(BLOCK, READ, 136, 0)


def test_lines_of_the_v1_controller() -> None:
    devices = (Device(major=1, minor=3), Device(major=136, minor=None))
    assert v1_lines(devices) == ("c *:* m", "b *:* m", "c 1:3 rwm", "c 136:* rwm")
