"""One look at everything that runs here: every pod's cgroups, the machine, and nsrun itself. Everything here blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nsrun.model.figures import ContainerFigures, Figures, PodFigures
from nsrun.model.running import RunningContainer
from nsrun.runtime.cgroups import Cgroups
from nsrun.runtime.figures_machine import own_usage, read_machine_figures

__all__ = ["Running", "look"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A pod that is to be looked at. ``started_at``: its sandbox."""

    started_at: float
    containers: tuple[RunningContainer, ...] = ()


def look(cgroups: Cgroups, running: Mapping[str, Running], *, brief: bool) -> Figures:
    """``running``: what the runtime knows to run, by UID; what has ended meanwhile is not in the answer. ``brief``:
    of pods only processor time and memory."""
    used = cgroups.usage({uid: [c.id for c in pod.containers] for uid, pod in running.items()}, brief=brief)
    pods = {
        uid: PodFigures(
            usage=used[uid].whole,
            path=used[uid].path,
            started_at=pod.started_at,
            containers={
                c.id.name: ContainerFigures(
                    id=c.id, hash=c.hash, started_at=c.started_at, usage=used[uid].containers[c.id]
                )
                for c in pod.containers
                if c.id in used[uid].containers
            },
        )
        for uid, pod in running.items()
        if uid in used
    }
    return Figures(machine=read_machine_figures(), own=own_usage(), all_pods=cgroups.whole_usage(), pods=pods)
