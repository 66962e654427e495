"""Whom figures are about: the pods that run, each with what its manifest says, how it is, and what it uses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nsrun.model.container import Container
from nsrun.model.figures import ContainerFigures, Figures, PodFigures
from nsrun.model.pod import Pod
from nsrun.model.status import ContainerStatus, PodStatus

__all__ = ["PodSubject", "subjects"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSubject:
    """A pod whose sandbox runs."""

    pod: Pod
    status: PodStatus
    figures: PodFigures

    def containers(self) -> Iterator[tuple[Container, ContainerFigures]]:
        """Those that run, in the order of the manifest."""
        for container in self.pod.all_containers:
            if container.name in self.figures.containers:
                yield container, self.figures.containers[container.name]

    def container_status(self, name: str) -> ContainerStatus | None:
        """How a container is."""
        statuses = (*self.status.container_statuses, *self.status.init_container_statuses)
        return next((status for status in statuses if status.name == name), None)


def subjects(pods: Iterable[tuple[Pod, PodStatus]], figures: Figures) -> tuple[PodSubject, ...]:
    """``pods``: what the board shows. Those that do not run are left out, and so is what runs and belongs to none."""
    return tuple(
        PodSubject(pod=pod, status=status, figures=figures.pods[pod.uid])
        for pod, status in pods
        if pod.uid in figures.pods
    )
