"""Durations as kubectl and Go write them."""

from __future__ import annotations

import pytest

from nsrun.cli.age import age, ago, seconds_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (75, "75s"),
        (120, "2m"),
        (200, "3m20s"),
        (601, "10m"),
        (3 * 3600, "3h"),
        (4 * 3600 + 60, "4h1m"),
        (25 * 3600, "25h"),
        (48 * 3600, "2d"),
        (200_000, "2d7h"),
        (9 * 86400 + 3600, "9d"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("20s", 20), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("1.5s", 1.5), ("7", 7)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "20x", "1m30", "-5s", "ten"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "Less than a second ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "About a minute ago"),
        (120, "2 minutes ago"),
        (3599, "59 minutes ago"),
        (3600, "About an hour ago"),
        (7200, "2 hours ago"),
        (172800, "2 days ago"),
        (14 * 86400, "2 weeks ago"),
        (60 * 86400, "2 months ago"),
        (730 * 86400, "2 years ago"),
    ],
)
def test_how_long_ago_as_docker_says_it(seconds: float, said: str) -> None:
    assert ago(seconds) == said
