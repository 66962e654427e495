from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.errors import HostError
from nsrun.host.doctor import Level
from nsrun.host.rootless.doctor import UserFacts, examine_user
from nsrun.host.rootless.ids import plan_ids
from nsrun.host.rootless.maps import MapLine
from nsrun.host.rootless.refusals import UsernsFacts
from nsrun.support.idranges import IdRange

EVERYTHING = (MapLine(inside=0, outside=0, count=2**32 - 1),)


def ids(*ranges: IdRange, capable: bool = False) -> object:
    both = {"uid": ranges, "gid": ranges}
    present = {"uid": EVERYTHING, "gid": EVERYTHING}
    return plan_ids(1000, 1000, "me", ranges=both, present=present, capable=capable)


GOOD = UserFacts(
    name="me",
    uid=1000,
    ids=plan_ids(
        1000,
        1000,
        "me",
        ranges={kind: (IdRange(first=100000, count=65536),) for kind in ("uid", "gid")},
        present={"uid": EVERYTHING, "gid": EVERYTHING},
    ),
    programs={"newuidmap": True, "newgidmap": True},
    users=UsernsFacts(most=100),
    runtime="/run/user/1000/nsrun",
    session=True,
    lingers=True,
    first_port=0,
    connectors=("pasta",),
    tun=True,
)


def test_where_all_is_well_there_is_nothing_to_do() -> None:
    findings = examine_user(GOOD, None)
    assert [finding.subject for finding in findings] == ["rootless", "ids", "run directory", "connector"]
    assert all(finding.level is Level.OK and not finding.hint for finding in findings)


@pytest.mark.parametrize(
    ("change", "subject", "text", "hint"),
    [
        ({"ids": ids()}, "ids", "/etc/subuid and /etc/subgid names none for me", "usermod"),
        ({"programs": {"newuidmap": None, "newgidmap": True}}, "ids", "there is no newuidmap", "apt install uidmap"),
        ({"programs": {"newuidmap": True, "newgidmap": False}}, "ids", "newgidmap has neither", "chmod u+s"),
        (
            {"users": UsernsFacts(restricted=True, label="unconfined")},
            "rootless",
            "AppArmor lets only programs with a profile",
            "apparmor_parser",
        ),
        ({"session": False, "runtime": "/tmp/x"}, "run directory", "there is no XDG_RUNTIME_DIR", "enable-linger me"),
        ({"lingers": False}, "lingering", "when you log out", "sudo loginctl enable-linger me"),
        ({"connectors": ()}, "connector", "neither pasta nor slirp4netns", "apt install passt"),
        ({"tun": False}, "connector", "/dev/net/tun is not for everybody", "chmod 666 /dev/net/tun"),
        ({"tun": None}, "connector", "/dev/net/tun is not there", "modprobe tun"),
        ({"first_port": 1024}, "host ports", "below 1024", "net.ipv4.ip_unprivileged_port_start=0"),
    ],
)
def test_each_lack_has_its_remedy(change: dict[str, object], subject: str, text: str, hint: str) -> None:
    findings = examine_user(replace(GOOD, **change), None)  # type: ignore[arg-type]
    (lack,) = [finding for finding in findings if finding.level is not Level.OK]
    assert lack.level is Level.WARNING
    assert lack.subject == subject
    assert text in lack.text
    assert hint in lack.hint


def test_without_systemd_nobody_lingers() -> None:
    assert "lingering" not in [finding.subject for finding in examine_user(replace(GOOD, lingers=None), None)]


def test_who_cannot_go_in_is_told_why() -> None:
    first = examine_user(GOOD, HostError("cannot make a user namespace: no", hint="do this"))[0]
    assert (first.level, first.subject, first.text, first.hint) == (
        Level.ERROR,
        "rootless",
        "cannot make a user namespace: no",
        "do this",
    )


def test_ids_that_are_handed_on() -> None:
    findings = examine_user(replace(GOOD, ids=ids(capable=True), programs={"newuidmap": None}), None)  # type: ignore[arg-type]
    assert [finding.text for finding in findings if finding.subject == "ids"] == [
        f"all {2**32 - 1} of the namespace that nsrun is started in"
    ]
