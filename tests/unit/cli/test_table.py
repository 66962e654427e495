"""Tables."""

from __future__ import annotations

from nsrun.cli.table import table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("A", "NAME"), [("long", "x"), ("", "y")]) == "A      NAME\nlong   x\n       y"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in table(("A",), [("\x1b[31mred",)])
