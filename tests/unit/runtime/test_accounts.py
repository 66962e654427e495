"""Accounts: the image's USER, its files, the manifest's demands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import RuntimeFailure
from nsrun.model.security import GroupsPolicy, PodSecurityContext, SecurityContext
from nsrun.runtime.accounts import MAX_ID, Account, check_non_root, resolve

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# a comment
app:x:1000:100:App:/home/app:/bin/sh
short:x:5:6
huge:x:4294967296:0::/:/bin/sh
broken
relative:x:7:7::home:/bin/sh
1001:x:2002:2002::/home/number:/bin/sh
app:x:1:1::/second:/bin/sh
"""
GROUP = b"""root:x:0:
users:x:100:app,other
extra:x:200:other,app
wheel:x:10:root
huge:x:99999999999:app
nobody
"""
NONE = SecurityContext()
OF_POD = PodSecurityContext()


def account(user: str, context: SecurityContext = NONE) -> Account:
    return resolve(user, context, OF_POD, passwd=PASSWD, group=GROUP)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Account(uid=0, gid=0, groups=(0, 10), home="/root")),
        ("root", Account(uid=0, gid=0, groups=(0, 10), home="/root")),
        ("app", Account(uid=1000, gid=100, groups=(100, 200), home="/home/app")),
        ("1000", Account(uid=1000, gid=100, groups=(100, 200), home="/home/app")),
        ("app:extra", Account(uid=1000, gid=200, groups=(200, 100), home="/home/app")),
        ("app:5", Account(uid=1000, gid=5, groups=(5, 100, 200), home="/home/app")),
        ("42", Account(uid=42, gid=0, groups=(0,), home="/")),
        ("42:43", Account(uid=42, gid=43, groups=(43,), home="/")),
        ("short", Account(uid=5, gid=6, groups=(6,), home="/")),
        ("relative", Account(uid=7, gid=7, groups=(7,), home="/")),
        ("1001", Account(uid=1001, gid=0, groups=(0,), home="/")),  # a number is never a name
        (str(MAX_ID), Account(uid=MAX_ID, gid=0, groups=(0,), home="/")),
    ],
)
def test_image_users(user: str, expected: Account) -> None:
    assert account(user) == expected


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", 'cannot find user "nobody" in the image\'s /etc/passwd'),
        ("huge", 'cannot find user "huge" in the image\'s /etc/passwd'),
        ("app:nogroup", 'cannot find group "nogroup" in the image\'s /etc/group'),
        ("2147483648", 'user id "2147483648" is not between 0 and 2147483647'),
        ("4294967296", 'user id "4294967296" is not between 0 and 2147483647'),
        ("-1", 'user id "-1" is not between 0 and 2147483647'),
        ("0:4294967296", 'group id "4294967296" is not between 0 and 2147483647'),
        ("1000abc", 'cannot find user "1000abc" in the image\'s /etc/passwd'),
        ("app:", 'image\'s user "app:" is not of the form user, uid, user:group or uid:gid'),
        ("a\x1b[2J" + "b" * 80, 'cannot find user "a?[2J' + "b" * 59 + "…\" in the image's /etc/passwd"),
    ],
)
def test_users_that_are_none(user: str, message: str) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        account(user)
    assert caught.value.message == message
    assert caught.value.reason == "CreateContainerConfigError"


def test_the_manifest_wins() -> None:
    assert account("app:extra", SecurityContext(run_as_user=0)) == account("0")
    assert account("app", SecurityContext(run_as_group=7)).groups == (7, 100, 200)
    assert account("app", SecurityContext(run_as_user=9, run_as_group=7)).gid == 7
    for context in (SecurityContext(run_as_user=2**31), SecurityContext(run_as_group=-1)):
        with pytest.raises(RuntimeFailure):
            account("", context)


@pytest.mark.parametrize(
    ("user", "run_as", "message"),
    [
        ("", None, 'container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: c)'),
        ("0:5", None, 'container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: c)'),
        ("00", None, 'container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: c)'),
        (
            "app",
            None,
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root "
            '(pod: "p_ns(u)", container: c)',
        ),
        ("7", 0, 'container\'s runAsUser breaks non-root policy (pod: "p_ns(u)", container: c)'),
        ("4294967296", None, 'user id "4294967296" is not between 0 and 2147483647'),
    ],
)
def test_run_as_non_root(user: str, run_as: int | None, message: str) -> None:
    context = SecurityContext(run_as_non_root=True, run_as_user=run_as)
    with pytest.raises(RuntimeFailure) as caught:
        check_non_root(user, context, pod="p_ns(u)", container="c")
    assert caught.value.message == message


def test_run_as_non_root_that_is_kept() -> None:
    check_non_root("0", SecurityContext(), pod="p", container="c")
    check_non_root("0", SecurityContext(run_as_non_root=True, run_as_user=5), pod="p", container="c")
    check_non_root("5:0", SecurityContext(run_as_non_root=True), pod="p", container="c")


@given(st.text(), st.binary(), st.binary())
def test_whatever_the_image_says_ids_stay_in_range(user: str, passwd: bytes, group: bytes) -> None:
    try:
        found = resolve(user, NONE, OF_POD, passwd=passwd, group=group)
    except RuntimeFailure:
        return
    assert all(0 <= number <= MAX_ID for number in (found.uid, found.gid, *found.groups))
    assert found.groups[0] == found.gid
    assert found.home.startswith("/")
    assert "\0" not in found.home


@pytest.mark.parametrize(
    ("of_pod", "groups"),
    [
        (PodSecurityContext(supplemental_groups=(7, 5)), (100, 5, 7, 200)),
        (PodSecurityContext(fs_group=3000), (100, 200, 3000)),
        (PodSecurityContext(supplemental_groups=(5, 100, 5), fs_group=5), (100, 5, 200)),
        (
            PodSecurityContext(supplemental_groups=(5,), fs_group=3000, supplemental_groups_policy=GroupsPolicy.STRICT),
            (100, 5, 3000),
        ),
        (PodSecurityContext(supplemental_groups_policy=GroupsPolicy.STRICT), (100,)),
    ],
)
def test_groups_of_the_pod(of_pod: PodSecurityContext, groups: tuple[int, ...]) -> None:
    assert resolve("app", NONE, of_pod, passwd=PASSWD, group=GROUP).groups == groups


def test_groups_of_the_pod_do_not_wrap() -> None:
    with pytest.raises(RuntimeFailure, match='group id "4294967296" is not between'):
        resolve("app", NONE, PodSecurityContext(fs_group=2**32), passwd=PASSWD, group=GROUP)
