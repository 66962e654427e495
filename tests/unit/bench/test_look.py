"""The bars of what looks inside."""

from __future__ import annotations

from bench.look import figures

GOOD = {
    "exec": 40.0,
    "logs": 600.0,
    "ps": 150.0,
    "follow_lost": 0,
    "follow": 1.0,
    "follower": 1.0,
    "execs": 1.0,
    "execs_lost": 0,
    "execs_left": -1,
    "forward": 800.0,
    "copy_in": 1.0,
    "copy_out": 1.0,
}
PODMAN = {"exec": 80.0, "logs": 10.0, "copy_in": 2.0, "copy_out": 2.0}


def kept(ours: dict[str, float], podman: dict[str, float]) -> list[bool | None]:
    return [figure.within for figure in figures(ours, podman, runs=3) if figure.bar]


def test_bars() -> None:
    assert kept(GOOD, PODMAN) == [True] * 5
    assert kept(GOOD, {}) == [None, True, True, True, True]
    bad = GOOD | {"exec": 40.1, "logs": 499.0, "ps": 151.0, "follow_lost": 1, "execs_left": 1}
    assert kept(bad, PODMAN) == [False] * 5
    assert kept(GOOD | {"execs_lost": 1}, PODMAN)[-1] is False


def test_peers_that_are_missing() -> None:
    assert all(not figure.peers for figure in figures(GOOD, {}, runs=3))
    forward = next(f for f in figures({**GOOD, "socat": 100.0}, {}, runs=3) if "port-forward" in f.name)
    assert forward.peers == {"socat": 100.0}
