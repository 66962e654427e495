"""Limits for huge pages, from ``limits: {hugepages-2Mi: 64Mi}`` to cgroup files, as the kubelet does it.

Huge pages are the host's to set aside and come out of nobody's memory limit, so every size that the machine has is
limited to 0 unless it was declared: in the container's cgroup to what the container declares, in the pod's to the sum.
``rsvd`` limits what mmap(2) reserves, before the first page is touched: there a refusal is an error that a program can
handle, later it is SIGBUS. Pure; names of files are data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.model.quantity import parse_quantity
from nsrun.model.totals import pod_limit
from nsrun.runtime.resources import Setting

__all__ = ["CONTROLLER", "V1", "V2", "Files", "container_pages", "offered_sizes", "pod_pages", "size_in_files"]

CONTROLLER = "hugetlb"
_PREFIX = "hugepages-"
_FILE = re.compile(r"hugetlb\.([0-9]+)([KMG])B\.(?:max|limit_in_bytes)")
_UNITS = {"K": 10, "M": 20, "G": 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a version of cgroups calls its files, after the size; ``unlimited``: what a fresh cgroup has there."""

    limit: str
    reserved: str
    unlimited: str


V1 = Files(limit="limit_in_bytes", reserved="rsvd.limit_in_bytes", unlimited="-1")
V2 = Files(limit="max", reserved="rsvd.max", unlimited="max")


def offered_sizes(names: Iterable[str]) -> frozenset[int]:
    """The page sizes, in bytes, that a cgroup with files of these names can limit."""
    found = (match for name in names if (match := _FILE.fullmatch(name)))
    return frozenset(int(match[1]) << _UNITS[match[2]] for match in found)


def size_in_files(size: int) -> str:
    """As the kernel's ``mem_fmt`` writes it: 2097152 → ``2MB``."""
    unit = "G" if size >= 1 << 30 else "M" if size >= 1 << 20 else "K"
    return f"{size >> _UNITS[unit]}{unit}B"


def container_pages(container: Container, sizes: Iterable[int], files: Files) -> tuple[Setting, ...]:
    """A container's own limits. ``sizes``: those that this machine has."""
    return tuple(_settings(_declared(container), sizes, files, f'of container "{container.name}"'))


def pod_pages(pod: Pod, sizes: Iterable[int], files: Files) -> tuple[Setting, ...]:
    """The limits of a whole pod: what is said of it, or else what its containers declare, together."""
    of_pod = pod.spec.resources.limits if pod.spec.resources is not None else {}
    names = {name for container in pod.all_containers for name in container.resources.limits} | of_pod.keys()
    total: dict[int, int] = {}
    for name in names:
        size, limit = _size(name) if name.startswith(_PREFIX) else 0, pod_limit(pod, name)
        if size > 0 and limit is not None:
            total[size] = -(-limit // 1000)
    return tuple(_settings(total, sizes, files, "of the pod"))


def _declared(container: Container) -> dict[int, int]:
    """Page size → limit, both in bytes."""
    declared: dict[int, int] = {}
    for name, quantity in container.resources.limits.items():
        size = _size(name) if name.startswith(_PREFIX) else 0
        if size > 0:
            declared[size] = max(quantity.value, 0)
    return declared


def _size(name: str) -> int:
    try:
        return parse_quantity(name.removeprefix(_PREFIX)).value
    except ValueError:
        return 0  # never matches a size that a machine has


def _settings(declared: Mapping[int, int], sizes: Iterable[int], files: Files, who: str) -> Iterator[Setting]:
    for size in sorted({*declared, *sizes}):
        limit = declared.get(size, 0)
        asked = f"the limit of huge pages of {size_in_files(size)} {who}" if limit else ""
        for file in (files.limit, files.reserved):
            yield Setting(
                controller=CONTROLLER,
                file=f"hugetlb.{size_in_files(size)}.{file}",
                value=str(limit),
                default=files.unlimited,
                asked=asked if file == files.limit else "",
                # A size this machine does not have is missed when it was declared; rsvd came with Linux 5.7.
                optional=not asked or file == files.reserved,
            )
