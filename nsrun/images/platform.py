"""Platforms: what this machine runs, and which manifest of an index is meant for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Platform", "best_match", "platform_of_machine"]

# uname -m → GOARCH and variant, the names image indexes use (image-spec image-index.md)
_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
    "loongarch64": ("loong64", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Operating system, architecture and, where an architecture has several, variant."""

    os: str
    architecture: str
    variant: str = ""

    def document(self) -> dict[str, object]:
        """The ``platform`` object of a descriptor."""
        document: dict[str, object] = {"architecture": self.architecture, "os": self.os}
        if self.variant:
            document["variant"] = self.variant
        return document

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def platform_of_machine(machine: str) -> Platform:
    """The platform of a Linux machine whose ``uname -m`` is ``machine``."""
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def best_match(candidates: Iterable[Platform | None], wanted: Platform) -> int | None:
    """The position of the candidate that suits ``wanted`` best, None when none does.

    Among equals the first one counts. A candidate that says nothing about its platform (None) is taken only when it is
    the only one, since nothing can be chosen by it.
    """
    listed = list(candidates)
    if listed == [None]:
        return 0
    variants = _acceptable_variants(wanted)
    best: tuple[int, int] | None = None
    for position, candidate in enumerate(listed):
        if candidate is None or (candidate.os, candidate.architecture) != (wanted.os, wanted.architecture):
            continue
        if candidate.variant in variants:
            rank = (variants.index(candidate.variant), position)
            best = rank if best is None else min(best, rank)
    return None if best is None else best[1]


def _acceptable_variants(wanted: Platform) -> Sequence[str]:
    """Variants this machine can run, best first."""
    match wanted.architecture:
        case "arm":
            newest = int(wanted.variant.removeprefix("v") or 7)
            return [*(f"v{number}" for number in range(newest, 4, -1)), ""]
        case "arm64":
            return ["v8", ""]
        case "amd64":
            return ["", "v1"]  # v2 and up need instructions that this machine may not have
        case _:
            return [wanted.variant, ""]
