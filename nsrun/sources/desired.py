"""Files → the desired set of pods: last good versions, and one owner for every name. Pure: no file is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nsrun.model.decode import Manifest, PlacedPod
from nsrun.model.update import SourceUpdate
from nsrun.support.layout import PodName

__all__ = ["FileState", "Owners", "desired", "next_state"]

Owners = Mapping[PodName, str]
"""Which file has which pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One manifest file as it counts. ``file``: its name in messages; ``origin``: its absolute path.

    ``pods``: those it wants to run, with the ``retained`` ones, which only an earlier version of it described.
    ``leaving``: it is not there any more, and may be put back in a moment.
    """

    file: str
    origin: str
    pods: tuple[PlacedPod, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    retained: frozenset[PodName] = frozenset()
    leaving: bool = False


def next_state(before: FileState, manifest: Manifest) -> FileState:
    """The file after it was read again.

    Last good wins: as long as anything in the file is broken, no pod it had is given up. Its good documents count at
    once, each in the place of the pod of the same name.
    """
    names = {placed.pod.name for placed in manifest.pods}
    kept = tuple(placed for placed in before.pods if placed.pod.name not in names) if manifest.problems else ()
    return FileState(
        file=before.file,
        origin=before.origin,
        pods=(*manifest.pods, *kept),
        problems=manifest.problems,
        warnings=manifest.warnings,
        retained=frozenset(placed.pod.name for placed in kept),
    )


def desired(files: Iterable[FileState], owners: Owners) -> tuple[SourceUpdate, Owners]:
    """The whole set, and who owns what from now on.

    A pod's name belongs to the file that had it first; between files that came at the same time, to the first by name.
    So no file that is added later can displace a pod that runs. The others are reported. UIDs are unique likewise:
    directories are named after them.
    """
    states = tuple(files)
    claims = [(state, placed) for state in states for placed in state.pods]
    names: dict[PodName, FileState] = {}
    uids: dict[str, PlacedPod] = {}
    accepted: set[int] = set()
    clashes: dict[str, list[str]] = {}
    for state, placed in sorted(claims, key=lambda claim: owners.get(claim[1].pod.name) != claim[0].origin):
        pod = placed.pod
        clash = None
        if pod.name in names:
            holder = names[pod.name]
            clash = None if holder.leaving else f'metadata.name: pod "{pod.name}" is already defined in {holder.file}'
        elif pod.uid in uids:
            clash = f'metadata.uid: "{pod.uid}" is already the UID of pod "{uids[pod.uid].pod.name}"'
        else:
            names[pod.name], uids[pod.uid] = state, placed
            accepted.add(id(placed))
        if clash is not None:
            clashes.setdefault(state.origin, []).append(f"{state.file}:{placed.line}:{placed.column}: {clash}")
    pods = tuple(placed.pod for _, placed in claims if id(placed) in accepted)
    update = SourceUpdate(
        pods=pods,
        problems=tuple(line for state in states for line in (*state.problems, *clashes.get(state.origin, ()))),
        warnings=tuple(line for state in states for line in (*state.warnings, *_retentions(state))),
        retained=frozenset(name for state in states for name in state.retained if names.get(name) is state),
        broken=frozenset(state.origin for state in states if state.problems),
    )
    return update, {name: state.origin for name, state in names.items()}


def _retentions(state: FileState) -> Iterable[str]:
    for placed in state.pods:
        if placed.pod.name in state.retained:
            yield f'{state.file}: pod "{placed.pod.name}" keeps running as it was last read'
