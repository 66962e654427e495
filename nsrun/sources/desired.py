"""Files → the desired set of pods, and what they refer to: last good versions, and one owner for every name. Pure: no
file is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nsrun.model.decode import Manifest, ObjectId, PlacedObject, PlacedPod
from nsrun.model.objects import Claim, ConfigMap, Objects, PersistentVolume, Secret
from nsrun.model.pod import Pod
from nsrun.model.update import SourceUpdate
from nsrun.support.layout import PodName

__all__ = ["FileState", "Owners", "desired", "next_state"]

Owners = Mapping[PodName | ObjectId, str]
"""Which file has which pod, ConfigMap, Secret, claim or volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One manifest file as it counts. ``file``: its name in messages; ``origin``: its absolute path.

    ``pods`` and ``objects``: those it wants, with the ``retained`` pods and ``stale`` objects, which only an earlier
    version of it described. ``refused``: lines about immutable objects that were changed: they do not make the file a
    broken one. ``leaving``: it is not there any more, and may be put back in a moment.
    """

    file: str
    origin: str
    pods: tuple[PlacedPod, ...] = ()
    objects: tuple[PlacedObject, ...] = ()
    problems: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    retained: frozenset[PodName] = frozenset()
    stale: frozenset[ObjectId] = frozenset()
    leaving: bool = False


def next_state(before: FileState, manifest: Manifest) -> FileState:
    """The file after it was read again.

    Last good wins: as long as anything in the file is broken, nothing it had is given up. Its good documents count at
    once, each in the place of the pod or object of the same name. What was immutable stays as it was.
    """
    names = {placed.pod.name for placed in manifest.pods}
    ids = {placed.id for placed in manifest.objects}
    kept = tuple(placed for placed in before.pods if placed.pod.name not in names) if manifest.problems else ()
    stale = tuple(placed for placed in before.objects if placed.id not in ids) if manifest.problems else ()
    immutable = {placed.id: placed for placed in before.objects if _is_immutable(placed)}
    changed = [placed for placed in manifest.objects if _differs(placed, immutable.get(placed.id))]
    return FileState(
        file=before.file,
        origin=before.origin,
        pods=(*manifest.pods, *kept),
        objects=(*(_unchanged(placed, immutable.get(placed.id)) for placed in manifest.objects), *stale),
        problems=manifest.problems,
        refused=tuple(_refusal(before.file, placed) for placed in changed),
        warnings=manifest.warnings,
        retained=frozenset(placed.pod.name for placed in kept),
        stale=frozenset(placed.id for placed in stale),
    )


def _is_immutable(placed: PlacedObject) -> bool:
    return isinstance(placed.object, ConfigMap | Secret) and placed.object.immutable


def _differs(placed: PlacedObject, fixed: PlacedObject | None) -> bool:
    return fixed is not None and fixed.object != placed.object


def _unchanged(placed: PlacedObject, fixed: PlacedObject | None) -> PlacedObject:
    """Where the document stands now, with what it said first."""
    return placed if fixed is None else replace(placed, object=fixed.object)


def _refusal(file: str, placed: PlacedObject) -> str:
    text = "is immutable and stays as it was: remove it, and then add it again"
    return f"{file}:{placed.line}:{placed.column}: {placed.title} {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    """Who has a name, and where it stands."""

    state: FileState
    line: int
    column: int

    def place(self) -> str:
        return f"{self.state.file}:{self.line}:{self.column}"


class _Register:
    """One owner for every name. ``clashes``: by origin, what is to be said to the others."""

    def __init__(self, owners: Owners) -> None:
        self.owners = owners
        self.holders: dict[PodName | ObjectId, _Holder] = {}
        self.clashes: dict[str, list[str]] = {}

    def claim(self, name: PodName | ObjectId, by: _Holder, title: str) -> bool:
        """Whether the name is free, and from now on taken."""
        holder = self.holders.setdefault(name, by)
        if holder is by:
            return True
        if not holder.state.leaving:
            self.clash(by, f"metadata.name: {title} is already defined in {holder.place()}")
        return False

    def clash(self, by: _Holder, text: str) -> None:
        self.clashes.setdefault(by.state.origin, []).append(f"{by.place()}: {text}")

    def was_not_here(self, name: PodName | ObjectId, state: FileState) -> bool:
        """For sorting: who had the name before comes first."""
        return self.owners.get(name) != state.origin


def desired(files: Iterable[FileState], owners: Owners) -> tuple[SourceUpdate, Owners]:
    """The whole set, and who owns what from now on.

    A name belongs to the file that had it first; between files that came at the same time, to the first by name. So no
    file that is added later can displace a pod that runs. The others are reported. UIDs are unique likewise:
    directories are named after them.
    """
    states = tuple(files)
    register = _Register(owners)
    pods = _pods(states, register)
    objects = _objects(states, register)
    update = SourceUpdate(
        pods=pods,
        objects=objects,
        problems=tuple(line for state in states for line in _problems(state, register)),
        warnings=tuple(line for state in states for line in (*state.warnings, *_retentions(state))),
        retained=frozenset(name for state in states for name in state.retained if _holds(register, name, state)),
        broken=frozenset(state.origin for state in states if state.problems),
    )
    return update, {name: holder.state.origin for name, holder in register.holders.items()}


def _holds(register: _Register, name: PodName, state: FileState) -> bool:
    return name in register.holders and register.holders[name].state is state


def _problems(state: FileState, register: _Register) -> Iterator[str]:
    yield from state.problems
    yield from state.refused
    yield from register.clashes.get(state.origin, ())


def _pods(states: Sequence[FileState], register: _Register) -> tuple[Pod, ...]:
    claims = [(state, placed) for state in states for placed in state.pods]
    uids: dict[str, PlacedPod] = {}
    accepted: set[int] = set()
    for state, placed in sorted(claims, key=lambda claim: register.was_not_here(claim[1].pod.name, claim[0])):
        pod = placed.pod
        holder = _Holder(state=state, line=placed.line, column=placed.column)
        if pod.name not in register.holders and pod.uid in uids:
            other = uids[pod.uid].pod.name
            register.clash(holder, f'metadata.uid: "{pod.uid}" is already the UID of pod "{other}"')
        elif register.claim(pod.name, holder, f'pod "{pod.name}"'):
            uids[pod.uid] = placed
            accepted.add(id(placed))
    return tuple(placed.pod for _, placed in claims if id(placed) in accepted)


def _objects(states: Sequence[FileState], register: _Register) -> Objects:
    claims = [(state, placed) for state in states for placed in state.objects]
    accepted: list[PlacedObject] = []
    for state, placed in sorted(claims, key=lambda claim: register.was_not_here(claim[1].id, claim[0])):
        if register.claim(placed.id, _Holder(state=state, line=placed.line, column=placed.column), placed.title):
            accepted.append(placed)
    found = [placed.object for placed in accepted]
    return Objects(
        config_maps={(one.namespace, one.name): one for one in found if isinstance(one, ConfigMap)},
        secrets={(one.namespace, one.name): one for one in found if isinstance(one, Secret)},
        claims={(one.namespace, one.name): one for one in found if isinstance(one, Claim)},
        volumes={one.name: one for one in found if isinstance(one, PersistentVolume)},
    )


def _retentions(state: FileState) -> Iterable[str]:
    for placed in state.pods:
        if placed.pod.name in state.retained:
            yield f'{state.file}: pod "{placed.pod.name}" keeps running as it was last read'
    for one in state.objects:
        if one.id in state.stale:
            yield f"{state.file}: {one.title} stays as it was last read"
