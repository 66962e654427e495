"""Which frozen machine is thawed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vagrant import vm
from vagrant.image import BaseImage
from vagrant.machine import KVM, Hardware

BASE = BaseImage(disk=Path("/b"), stamp="a", kernels=())
HARDWARE = Hardware(vmlinuz=Path("/k"), initramfs=Path("/i"), disk=Path("/d"))


def test_what_froze_it_thaws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU refuses what another version, or another machine, has frozen."""
    monkeypatch.setattr(vm, "version", lambda: "QEMU emulator version 7.2")
    first = vm._stamp(BASE, HARDWARE)
    assert vm._stamp(BASE, HARDWARE) == first
    others = [vm._stamp(BASE, replace(HARDWARE, accelerator=KVM)), vm._stamp(BASE, replace(HARDWARE, memory_mib=1024))]
    monkeypatch.setattr(vm, "version", lambda: "QEMU emulator version 10.0")
    others.append(vm._stamp(BASE, HARDWARE))
    assert len({first, *others}) == 4
