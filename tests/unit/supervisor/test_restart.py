"""Restart policies × exits."""

from __future__ import annotations

import pytest

from nsrun.model.pod import RestartPolicy
from nsrun.model.running import Exit, ExitReason
from nsrun.supervisor.restart import runs_again, succeeded

ALWAYS, ON_FAILURE, NEVER = RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE, RestartPolicy.NEVER


def end(code: int, reason: ExitReason = ExitReason.ERROR) -> Exit:
    return Exit(code=code, reason=reason, started_at=0.0, finished_at=1.0)


@pytest.mark.parametrize(
    ("exit", "again"),
    [
        (end(0, ExitReason.COMPLETED), {ALWAYS}),
        (end(0, ExitReason.OOM_KILLED), {ALWAYS, ON_FAILURE}),
        (end(1), {ALWAYS, ON_FAILURE}),
        (end(128, ExitReason.START_ERROR), {ALWAYS, ON_FAILURE}),
        (end(137, ExitReason.OOM_KILLED), {ALWAYS, ON_FAILURE}),
        (end(137, ExitReason.UNKNOWN), {ALWAYS, ON_FAILURE}),
        (end(143), {ALWAYS, ON_FAILURE}),
        (end(255), {ALWAYS, ON_FAILURE}),
    ],
)
def test_who_runs_again(exit: Exit, again: set[RestartPolicy]) -> None:
    assert {policy for policy in RestartPolicy if runs_again(policy, exit)} == again
    assert succeeded(exit) == (again == {ALWAYS})
