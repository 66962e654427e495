"""The ids of a user's namespace, as this machine grants them, and what there is to say when those are few."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import HostError
from nsrun.host.rootless.maps import IdMap, MapLine, parse_map, plan_map
from nsrun.host.rootless.subids import subordinate_ids
from nsrun.support.idranges import IdRange

__all__ = ["FEWEST", "Ids", "available_ids", "plan_ids"]

FEWEST = 65536
"""Ids that images expect there to be."""

_FILES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}
_SINGLE = "containers have a single user and group id, and files of images belong to it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """``uids``, ``gids``: both maps, single or neither. ``direct``: they are those of the namespace this process is in,
    which it may hand on itself. ``warnings``: what is less than it could be, each with its remedy."""

    uids: IdMap
    gids: IdMap
    direct: bool = False
    warnings: tuple[HostError, ...] = ()

    @property
    def single(self) -> bool:
        return self.uids.single

    @property
    def alone(self) -> Ids:
        """The user's own ids, for which nobody has to be asked."""
        first, second = self.uids.lines[0], self.gids.lines[0]
        return Ids(uids=IdMap(lines=(first,)), gids=IdMap(lines=(second,)))


def available_ids(uid: int, gid: int, name: str) -> Ids:
    """What this machine grants the user. Never fails. Blocks."""
    own = Path("/proc/self")
    ranges = {kind: subordinate_ids(kind, name=name, uid=uid) for kind in _FILES}
    present = {kind: parse_map((own / f"{kind}_map").read_text()) for kind in _FILES}
    return plan_ids(uid, gid, name, ranges=ranges, present=present, capable=_may_set_ids())


def plan_ids(
    uid: int,
    gid: int,
    name: str,
    *,
    ranges: Mapping[str, tuple[IdRange, ...]],
    present: Mapping[str, tuple[MapLine, ...]],
    capable: bool = False,
) -> Ids:
    """``ranges``, ``present``: by kind, "uid" and "gid", as ``plan_map`` takes them. ``capable``: whether this process
    may map any id there is. Pure."""
    own = {"uid": uid, "gid": gid}
    maps = {kind: plan_map(own[kind], ranges[kind], present[kind]) for kind in own}
    lacking = [kind for kind in own if maps[kind].single]
    if lacking and capable:
        whole = {kind: tuple(IdRange(first=row.inside, count=row.count) for row in present[kind]) for kind in own}
        maps = {kind: plan_map(own[kind], whole[kind], present[kind]) for kind in own}
        return Ids(uids=maps["uid"], gids=maps["gid"], direct=True)
    if lacking:
        alone = Ids(uids=maps["uid"], gids=maps["gid"]).alone
        return Ids(uids=alone.uids, gids=alone.gids, warnings=(_nothing_granted(lacking, ranges, name),))
    few = [_few(kind, maps[kind], name) for kind in own if maps[kind].count < FEWEST]
    cut = [_cut(kind) for kind in own if not maps[kind].complete]
    return Ids(uids=maps["uid"], gids=maps["gid"], warnings=(*few, *cut))


def _nothing_granted(lacking: list[str], ranges: Mapping[str, tuple[IdRange, ...]], name: str) -> HostError:
    if all(ranges[kind] for kind in lacking):
        return HostError(
            f"cannot map more than one id: those of {_FILES[lacking[0]]} do not exist in the user namespace nsrun is "
            f"started in, so that {_SINGLE}",
            hint="give the container that nsrun runs in more ids",
        )
    files = " and ".join(_FILES[kind] for kind in lacking if not ranges[kind])
    return HostError(
        f"cannot map more than one id: {files} names none for {name}, so that {_SINGLE}", hint=subid_remedy(name)
    )


def subid_remedy(name: str) -> str:
    """The command that grants ids."""
    return (
        f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}, with a range that no line of "
        "/etc/subuid has, then nsrun down"
    )


def _few(kind: str, found: IdMap, name: str) -> HostError:
    return HostError(
        f"cannot map {FEWEST} ids: {_FILES[kind]} has {found.count - 1} for {name}, and images may need more",
        hint=f"give {name} {FEWEST} in {_FILES[kind]}, then nsrun down",
    )


def _cut(kind: str) -> HostError:
    return HostError(f"cannot map all ids of {_FILES[kind]}: the kernel takes 340 ranges", hint="make them fewer")


def _may_set_ids() -> bool:
    """Whether this process has CAP_SETUID and CAP_SETGID, as somebody who is root nowhere can in a container."""
    setgid, setuid = 6, 7
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return bool(bits >> setgid & 1 and bits >> setuid & 1) and os.geteuid() != 0
    return False
