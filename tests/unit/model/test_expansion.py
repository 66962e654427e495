"""``$(VAR)``, with the cases of k8s.io/kubernetes/third_party/forked/golang/expansion."""

from __future__ import annotations

import pytest

from nsrun.model.expansion import expand, referred

VALUES = {"VAR_A": "A", "VAR_B": "B", "VAR_C": "C", "VAR_REF": "$(VAR_A)", "VAR_EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("$(VAR_A)$(VAR_B)", "AB"),
        ("$(VAR_REF)", "$(VAR_A)"),
        ("$(VAR_EMPTY)x", "x"),
        ("$$(VAR_A)", "$(VAR_A)"),
        ("$$$(VAR_A)", "$A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("$(MISSING)", "$(MISSING)"),
        ("$VAR_A", "$VAR_A"),
        ("$(VAR_A", "$(VAR_A"),
        ("$", "$"),
        ("$$", "$"),
        ("\n$()\n", "\n$()\n"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, VALUES) == expected


def test_names_that_are_looked_up() -> None:
    assert referred("$(A)/$$(B)/$(C)$(A)") == ("A", "C", "A")
