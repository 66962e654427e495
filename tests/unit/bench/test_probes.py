"""How late probes were, from when they came."""

from __future__ import annotations

import pytest

from bench.probes import late


def test_on_time() -> None:
    assert late([10.0, 11.0, 12.0]) == ([0.0, 0.0, 0.0], 0)
    assert late([]) == ([], 0)


def test_each_is_held_against_the_earliest() -> None:
    found, missed = late([10.3, 11.0, 12.1, 13.4])
    assert found == pytest.approx([0.3, 0.0, 0.1, 0.4])
    assert missed == 0


def test_a_drift_is_lateness() -> None:
    found, missed = late([10.0 + 1.05 * n for n in range(21)])
    assert found[-1] == pytest.approx(1.0)
    assert missed == 0


def test_what_never_came_is_counted() -> None:
    found, missed = late([10.0, 11.0, 14.2, 15.0])
    assert missed == 2
    assert found == pytest.approx([0.0, 0.0, 0.2, 0.0])
