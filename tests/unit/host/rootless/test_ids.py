from __future__ import annotations

from nsrun.host.rootless.ids import Ids, plan_ids
from nsrun.host.rootless.maps import MapLine
from nsrun.support.idranges import IdRange

EVERYTHING = (MapLine(inside=0, outside=0, count=2**32 - 1),)
MANY = (IdRange(first=100000, count=65536),)


def plan(
    uids: tuple[IdRange, ...],
    gids: tuple[IdRange, ...],
    *,
    present: tuple[MapLine, ...] = EVERYTHING,
    capable: bool = False,
) -> Ids:
    both = {"uid": present, "gid": present}
    return plan_ids(1000, 1001, "me", ranges={"uid": uids, "gid": gids}, present=both, capable=capable)


def test_all_is_well() -> None:
    ids = plan(MANY, MANY)
    assert ids.uids.text == "0 1000 1\n1 100000 65536\n"
    assert ids.gids.text == "0 1001 1\n1 100000 65536\n"
    assert ids.warnings == ()
    assert not ids.single


def test_neither_file_names_any() -> None:
    ids = plan((), ())
    assert ids.single
    (warning,) = ids.warnings
    assert warning.message.startswith("cannot map more than one id: /etc/subuid and /etc/subgid names none for me")
    assert "usermod" in (warning.hint or "")


def test_one_file_alone_is_of_no_use() -> None:
    """Group ids without user ids cannot be had by newgidmap alone, and images need both."""
    ids = plan((), MANY)
    assert ids.uids.single
    assert ids.gids.single
    assert "/etc/subgid" not in ids.warnings[0].message


def test_few_are_told() -> None:
    ids = plan((IdRange(first=100000, count=1000),), MANY)
    assert [warning.message for warning in ids.warnings] == [
        "cannot map 65536 ids: /etc/subuid has 1000 for me, and images may need more"
    ]
    assert not ids.single


def test_too_many_ranges_are_told() -> None:
    ids = plan(tuple(IdRange(first=100000 + 300 * n, count=299) for n in range(400)), MANY)
    assert [warning.message for warning in ids.warnings] == [
        "cannot map all ids of /etc/subuid: the kernel takes 340 ranges"
    ]


def test_those_of_the_file_that_are_not_here() -> None:
    ids = plan(MANY, MANY, present=(MapLine(inside=0, outside=5000, count=2000),))
    assert ids.single
    assert "do not exist in the user namespace" in ids.warnings[0].message


def test_who_has_the_power_takes_what_there_is() -> None:
    """Inside of a container, with the capabilities of its root but another user id."""
    ids = plan((), (), present=(MapLine(inside=0, outside=5000, count=2000),), capable=True)
    assert ids.direct
    assert ids.uids.text == "0 1000 1\n1 0 1000\n1001 1001 999\n"
    assert ids.warnings == ()


def test_alone() -> None:
    assert plan(MANY, MANY).alone.uids.text == "0 1000 1\n"
    assert plan(MANY, MANY).alone.gids.text == "0 1001 1\n"
