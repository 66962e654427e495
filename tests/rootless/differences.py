"""What tests cannot show to an unprivileged user, and the rule that makes it so: all of it.

``pytest --rootless`` runs the tests of ``DIFFERENCES`` like all others, and expects that they fail with their symptom:
one that passes is reported, as one that fails with something else is. ``SAME_FOR_ALL`` is not run again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["DIFFERENCES", "SAME_FOR_ALL", "Difference", "Same", "difference_of", "same_of", "unmatched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``tests``: a pattern of node ids (fnmatch, where ``[`` is itself). ``rule``: what the kernel does, in a sentence;
    ``reference``: where that is written. ``symptom``: how the test says so, a regular expression."""

    tests: str
    rule: str
    reference: str
    symptom: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """Tests whose result cannot depend on who runs them."""

    tests: str
    reason: str


SAME_FOR_ALL: tuple[Same, ...] = (
    Same(tests="tests/test_linters.py::*", reason="they read the sources, and start none of them"),
    Same(tests="tests/test_habits.py::*", reason="they read the sources, and start none of them"),
)

DIFFERENCES: tuple[Difference, ...] = ()


def difference_of(node_id: str) -> Difference | None:
    """The first entry that names the test."""
    return next((one for one in DIFFERENCES if _matches(node_id, one.tests)), None)


def same_of(node_id: str) -> Same | None:
    """The first entry that names the test."""
    return next((one for one in SAME_FOR_ALL if _matches(node_id, one.tests)), None)


def unmatched(node_ids: Iterable[str]) -> list[str]:
    """The patterns that name no test, of those whose file has a test in ``node_ids``."""
    ids = list(node_ids)
    files = {node_id.partition("::")[0] for node_id in ids}
    patterns = [*(one.tests for one in SAME_FOR_ALL), *(one.tests for one in DIFFERENCES)]
    return [
        pattern
        for pattern in patterns
        if any(fnmatchcase(file, pattern.partition("::")[0]) for file in files)
        and not any(_matches(node_id, pattern) for node_id in ids)
    ]


def _matches(node_id: str, pattern: str) -> bool:
    return fnmatchcase(node_id, pattern.replace("[", "[[]"))
