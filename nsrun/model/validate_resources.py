"""What must hold of requests and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nsrun.model import names, totals
from nsrun.model.container import Container
from nsrun.model.pod import PodSpec
from nsrun.model.quantity import canonical, parse_quantity
from nsrun.model.resources import Quantity, ResourceRequirements
from nsrun.model.violation import Violation, faults
from nsrun.model.wording import Path, quoted

__all__ = ["HUGE", "amounts", "page_size_fault", "pod_resources", "resource_warnings", "resources"]

HUGE = "hugepages-"
NATIVE = frozenset({"cpu", "memory", "ephemeral-storage"})


def resources(said: ResourceRequirements, path: Path) -> Iterator[Violation]:
    """Of a container."""
    # What is only asked for because it is limited was not written, and is spoken about once.
    asked_for = {name: asked for name, asked in said.requests.items() if said.limits.get(name) != asked}
    yield from amounts(said.limits, (*path, "limits"))
    yield from amounts(asked_for, (*path, "requests"))
    yield from _requests(said, path)
    huge = [name for name in said.requests if name.startswith(HUGE)]
    if huge and not {"cpu", "memory"} & said.requests.keys():
        side = "limits" if huge[0] in said.limits else "requests"
        text = "must stand beside cpu or memory: huge pages alone are not enough"
        yield Violation(path=(*path, side, huge[0]), text=text, on_key=True)


def amounts(quantities: Mapping[str, Quantity], path: Path) -> Iterator[Violation]:
    """Names and signs."""
    for name, quantity in quantities.items():
        yield from faults((*path, name), _name_fault(name), on_key=True)
        if quantity.milli < 0:
            yield Violation(path=(*path, name), text=f"must be 0 or more, not {quantity.text}")


def _requests(said: ResourceRequirements, path: Path) -> Iterator[Violation]:
    for name, asked in said.requests.items():
        limit = said.limits.get(name)
        where = (*path, "requests", name)
        if limit is None:
            if name not in NATIVE and not _name_fault(name):
                text = "must have a limit, too: it cannot be promised twice"
                yield Violation(path=where, text=text, on_key=True)
        elif name not in NATIVE and asked != limit:
            text = f"must be the limit, {canonical(limit)}, not {canonical(asked)}"
            yield Violation(path=where, text=text)
        elif asked > limit:
            text = f"must be at most the limit, {canonical(limit)}, not {canonical(asked)}"
            yield Violation(path=where, text=text)


def _name_fault(name: str) -> str | None:
    if name in NATIVE:
        return None
    if name.startswith(HUGE):
        return page_size_fault(name.removeprefix(HUGE))
    if "/" in name:
        return names.qualified_name(name)
    return f"must be cpu, memory, ephemeral-storage, hugepages-<size> or <domain>/<name>, not {quoted(name)}"


def page_size_fault(text: str) -> str | None:
    """None for the size of a page."""
    try:
        size = parse_quantity(text)
    except ValueError:
        size = None
    if size is None or size.milli <= 0 or size.milli % 1000:
        return f"must name a page size such as 2Mi, not {quoted(text)}"
    return None


def pod_resources(spec: PodSpec) -> Iterator[Violation]:
    """Of a pod as a whole, and beside its containers'."""
    path: Path = ("spec", "resources")
    if spec.resources is None:
        return
    for side, quantities in (("limits", spec.resources.limits), ("requests", spec.resources.requests)):
        for name in quantities:
            if name not in totals.POD_LEVEL and not name.startswith(HUGE):
                text = f"must be cpu, memory or hugepages-<size>, not {quoted(name)}"
                yield Violation(path=(*path, side, name), text=text, on_key=True)
    yield from resources(spec.resources, path)
    for name, whole in spec.resources.requests.items():
        needed = totals.containers_request(spec, name)
        if name in totals.POD_LEVEL and whole.milli < needed:
            text = f"must be at least what its containers ask for, {_shown(needed, whole)}, not {canonical(whole)}"
            yield Violation(path=(*path, "requests", name), text=text)
    for where, container in _placed(spec):
        for name, limit in container.resources.limits.items():
            top = spec.resources.limits.get(name)
            if name in totals.POD_LEVEL and top is not None and limit > top:
                text = f"must be at most the pod's limit, {canonical(top)}, not {canonical(limit)}"
                yield Violation(path=(*where, "resources", "limits", name), text=text)


def _shown(milli: int, like: Quantity) -> str:
    return canonical(Quantity(milli=milli, text=like.text))


def _placed(spec: PodSpec) -> Iterator[tuple[Path, Container]]:
    for key, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for index, container in enumerate(containers):
            yield ("spec", key, index), container


def resource_warnings(spec: PodSpec) -> Iterator[Violation]:
    """What is valid and hardly meant, or has no effect."""
    for where, container in _placed(spec):
        limits, asked = container.resources.limits, container.resources.requests
        unlimited = {name: quantity for name, quantity in asked.items() if limits.get(name) != quantity}
        for side, quantities in (("limits", limits), ("requests", unlimited)):
            for name, quantity in quantities.items():
                path: Path = (*where, "resources", side, name)
                if name == "memory" and quantity.milli % 1000:
                    text = f"{quantity.text} is less than whole bytes: {quantity.text.rstrip('m')}M are megabytes"
                    yield Violation(path=path, text=text)
                elif name not in NATIVE and not name.startswith(HUGE):
                    yield Violation(path=path, text="nothing here hands this out, ignored", on_key=True)
