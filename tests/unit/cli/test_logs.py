"""Reading CRI log files."""

from __future__ import annotations

import pytest

from nsrun.cli.documents import ContainerRow, Document
from nsrun.cli.logs import attempt_before, attempt_of, content
from nsrun.errors import NotFoundError

LINES = [
    b"2026-01-01T00:00:00.000000001Z stdout F one",
    b"2026-01-01T00:00:00.000000002Z stdout P tw",
    b"2026-01-01T00:00:00.000000003Z stdout F o",
    b"garbage",
    b"2026-01-01T00:00:00.000000004Z stderr F ",
]


def test_partial_records_are_joined_and_garbage_is_passed_over() -> None:
    assert b"".join(content(iter(LINES))) == b"one\ntwo\n\n"


ENDED: Document = {"terminated": {"exitCode": 1}}


@pytest.mark.parametrize(
    ("state", "before"),
    [({"running": {}}, 2), (ENDED, 2), ({"waiting": {"reason": "CrashLoopBackOff"}}, 3)],
)
def test_the_previous_run_is_the_one_that_the_status_calls_last(state: Document, before: int) -> None:
    row = ContainerRow(pod={}, spec={}, status={"restartCount": 3, "state": state, "lastState": ENDED})
    assert (attempt_of(row), attempt_before(row)) == (3, before)


def test_a_first_run_has_none_before_it() -> None:
    status = {"restartCount": 0, "state": {"running": {}}, "lastState": {}}
    row = ContainerRow(pod={"metadata": {"name": "web"}}, spec={"name": "c"}, status=status)
    with pytest.raises(
        NotFoundError, match='cannot read the previous log of container "c": it ran only once in pod "web"'
    ):
        attempt_before(row)
