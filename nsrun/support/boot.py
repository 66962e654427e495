"""The kernel's name for this boot."""

from __future__ import annotations

__all__ = ["boot_id"]


def boot_id() -> str:
    """36 characters, others whenever the machine starts (random(4)). Raises OSError."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
