"""Which images go, and when."""

from __future__ import annotations

import pytest

from nsrun.images.collect import Seen, Space, disk_space, excess, outdated, removable, seen_now
from nsrun.model.retention import ImageRetention

DEFAULTS = ImageRetention()


def test_images_are_remembered_from_when_they_were_first_seen() -> None:
    first = seen_now({}, {"a", "b"}, {"b"}, 100.0)
    assert first == {"a": Seen(first=100.0), "b": Seen(first=100.0, used=100.0)}
    second = seen_now(first, {"b", "c"}, set(), 200.0)
    assert second == {"b": Seen(first=100.0, used=100.0), "c": Seen(first=200.0)}
    assert seen_now(second, {"a"}, set(), 300.0) == {"a": Seen(first=300.0)}


def test_the_longest_unused_goes_first() -> None:
    seen = {
        "used now": Seen(first=0.0, used=1000.0),
        "used lately": Seen(first=0.0, used=900.0),
        "used long ago": Seen(first=500.0, used=600.0),
        "never, older": Seen(first=100.0),
        "never, newer": Seen(first=200.0),
        "young": Seen(first=881.0),
    }
    assert removable(seen, {"used now"}, DEFAULTS, now=1000.0) == (
        "never, older",
        "never, newer",
        "used long ago",
        "used lately",
    )
    assert "young" in removable(seen, set(), DEFAULTS, now=1001.0)


def test_age_counts_from_the_last_use_and_not_before_it_can_be_known() -> None:
    seen = {"never": Seen(first=0.0), "old": Seen(first=0.0, used=100.0), "new": Seen(first=0.0, used=950.0)}
    retention = ImageRetention(maximum_age=500.0)
    assert outdated(seen, {"old"}, retention, now=1000.0, began=0.0) == ("never",)
    assert outdated(seen, set(), retention, now=1000.0, began=0.0) == ("never", "old")
    assert outdated(seen, set(), retention, now=1000.0, began=500.0) == ()
    assert outdated(seen, set(), DEFAULTS, now=1e9, began=0.0) == ()


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (100_000, 0),
        (15_001, 5_000 - 1),  # whole percents count, rounded as the kubelet rounds them
        (16_000, 0),
        (15_000, 5_000),
        (0, 20_000),
    ],
)
def test_how_much_is_to_be_freed(available: int, expected: int) -> None:
    assert excess(Space(capacity=100_000, available=available), DEFAULTS) == expected


def test_thresholds() -> None:
    half = Space(capacity=100, available=50)
    assert excess(half, ImageRetention(high_percent=50, low_percent=50)) == 0
    assert excess(half, ImageRetention(high_percent=50, low_percent=10)) == 40
    assert excess(half, ImageRetention(high_percent=0, low_percent=0)) == 50
    # 100: never, however full it is.
    assert excess(Space(capacity=100, available=0), ImageRetention(high_percent=100)) == 0
    assert excess(Space(capacity=0, available=0), DEFAULTS) == 0


def test_a_real_disk(tmp_path_factory: pytest.TempPathFactory) -> None:
    space = disk_space(tmp_path_factory.mktemp("disk"))
    assert 0 <= space.available <= space.capacity
    assert space.capacity > 0
