"""The tables: complete, and obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.draw_lifecycle import PAGE, page
from nsrun.errors import InternalError
from nsrun.supervisor.lifecycle import (
    CONTAINER_TRANSITIONS,
    POD_TRANSITIONS,
    ContainerEvent,
    ContainerState,
    PodEvent,
    PodState,
    container_after,
    pod_after,
)


@pytest.mark.parametrize("state", PodState)
@pytest.mark.parametrize("event", PodEvent)
def test_a_pod_takes_the_steps_of_the_table_and_no_others(state: PodState, event: PodEvent) -> None:
    after = POD_TRANSITIONS[state].get(event)
    if after is not None:
        assert pod_after(state, event) is after
        return
    with pytest.raises(InternalError, match=f'^internal error: a pod that is "{state}" cannot take "{event}"$'):
        pod_after(state, event)


@pytest.mark.parametrize("state", ContainerState)
@pytest.mark.parametrize("event", ContainerEvent)
def test_a_container_takes_the_steps_of_the_table_and_no_others(state: ContainerState, event: ContainerEvent) -> None:
    after = CONTAINER_TRANSITIONS[state].get(event)
    if after is not None:
        assert container_after(state, event) is after
        return
    with pytest.raises(InternalError, match=f'^internal error: a container that is "{state}" cannot take "{event}"$'):
        container_after(state, event)


def test_every_state_can_be_reached() -> None:
    pods = {after for row in POD_TRANSITIONS.values() for after in row.values()}
    assert pods | {PodState.STARTING} == set(PodState) == set(POD_TRANSITIONS)
    containers = {after for row in CONTAINER_TRANSITIONS.values() for after in row.values()}
    assert containers | {ContainerState.WAITING} == set(ContainerState) == set(CONTAINER_TRANSITIONS)


def test_every_pod_can_come_to_its_end() -> None:
    for state in PodState:
        while state is not PodState.REMOVED:
            row = POD_TRANSITIONS[state]
            state = row.get(PodEvent.TERMINATE) or next(iter(row.values()))


def test_the_page_shows_the_tables(repo: Path) -> None:
    assert (repo / PAGE).read_text() == page(), "run: .venv/bin/python docs/draw_lifecycle.py"
