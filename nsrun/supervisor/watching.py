"""Has the containers of one pod asked how they are, from when they run until they end; takes in what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from nsrun.errors import RuntimeFailure
from nsrun.model.container import Container
from nsrun.model.objects import Objects
from nsrun.model.running import ContainerId
from nsrun.supervisor import runs
from nsrun.supervisor.environment import resolved
from nsrun.supervisor.events import Notice
from nsrun.supervisor.facts import ContainerFacts, PodFacts
from nsrun.supervisor.lifecycle import ContainerState
from nsrun.supervisor.performing import Mechanisms
from nsrun.supervisor.probing import Verdict

__all__ = ["Watching"]

logger = logging.getLogger(__name__)


class Watching:
    """One pod's share of the probing. ``read`` and ``know`` give and take what is known of the pod; ``say`` records an
    event."""

    def __init__(
        self,
        mechanisms: Mechanisms,
        *,
        read: Callable[[], PodFacts],
        know: Callable[[PodFacts], None],
        say: Callable[[Notice], None],
    ) -> None:
        self._with = mechanisms
        self._read = read
        self._know = know
        self._say = say
        self._watched: dict[ContainerId, bool] = {}  # whether their probes still decide

    def look(self) -> None:
        """Begins and ends what the facts ask for."""
        probing = self._with.probing
        if probing is None:
            return
        wanted = {c.live.id: c for c in self._read().containers if c.live is not None and _has_probes(self._read(), c)}
        for id in [id for id in self._watched if id not in wanted]:
            del self._watched[id]
            probing.end(id)
        for id, container in wanted.items():
            if container.state is ContainerState.RUNNING and id not in self._watched:
                self._begin(id, container)
            if container.stop is not None and self._watched.get(id, False):
                self._watched[id] = False
                probing.end_deciding(id)

    def forget(self) -> None:
        """The pod is gone."""
        if self._with.probing is not None:
            for id in self._watched:
                self._with.probing.end(id)
            self._with.probing.forget(self._read().uid)
        self._watched.clear()

    def _begin(self, id: ContainerId, container: ContainerFacts) -> None:
        facts = self._read()
        if self._with.probing is None or facts.pod is None or facts.attachment is None or container.live is None:
            return
        self._watched[id] = True
        self._with.probing.begin(
            self._resolved(facts.pod.container(id.name)),
            id,
            pod=facts.pod,
            address=facts.attachment.address,
            started_at=container.live.started_at,
            started=container.up,
            tell=self._heard,
            say=self._say,
        )

    def _resolved(self, container: Container) -> Container:
        """As it is written when what it refers to is gone meanwhile: the commands of probes need none of it."""
        facts = self._read()
        assert facts.pod is not None
        try:
            objects = facts.objects or Objects()
            return resolved(facts.pod, container, objects=objects, node=self._with.node, attachment=facts.attachment)
        except RuntimeFailure as error:
            logger.info('Container "%s" of pod %s is asked as written: %s', container.name, facts.label, error)
            return container

    def _heard(self, verdict: Verdict) -> None:
        now = self._with.clock.now()
        self._know(runs.judged(self._read(), verdict.id, verdict.kind, success=verdict.success, now=now))


def _has_probes(facts: PodFacts, container: ContainerFacts) -> bool:
    spec = facts.spec(container)
    return spec is not None and any((spec.startup_probe, spec.liveness_probe, spec.readiness_probe))
