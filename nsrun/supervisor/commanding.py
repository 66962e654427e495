"""Has the containers of one pod stopped, started or restarted, and tells how far it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from nsrun.errors import ConflictError, NotFoundError
from nsrun.supervisor import control
from nsrun.supervisor.control import Order, Progress, Verb
from nsrun.supervisor.worker import Worker

__all__ = ["Command", "commanded"]


class Command:
    """What was asked of a pod's containers. It is on its way, whether anybody looks or not."""

    def __init__(self, worker: Worker, orders: Sequence[Order]) -> None:
        self._worker = worker
        self._orders = orders
        self._change = worker.changed

    def look(self) -> tuple[Progress, ...]:
        """How far each of them is now."""
        self._change = self._worker.changed
        return tuple(control.progress(self._worker.facts, order) for order in self._orders)

    async def moved(self, seconds: float) -> None:
        """Returns when something of the pod has changed since the last look, but after so many seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._change.wait()


def commanded(worker: Worker, verb: Verb, names: Sequence[str], grace: float | None) -> Command:
    """Gives the orders. ``names`` empty: to all containers but init containers that are over. ``grace``: seconds that a
    stop may take, None for what the manifest says. Either all of it is ordered or, with an error, nothing.

    Raises NotFoundError and ConflictError.
    """
    facts = worker.facts
    orders = []
    for name in dict.fromkeys(names) or control.everyone(facts):
        container = facts.container(name)
        if container is None:
            known = ", ".join(c.name for c in facts.containers)
            raise NotFoundError(
                f'cannot {verb} container "{name}" of pod {facts.label}: it has none', hint=f"it has: {known}"
            )
        why = control.refusal(facts, container, verb)
        if why is not None:
            raise ConflictError(f'cannot {verb} container "{name}" of pod {facts.label}: {why}')
        orders.append(control.order_of(container, verb))
    for order in orders:
        worker.order(order.container, verb, grace)
    return Command(worker, orders)
