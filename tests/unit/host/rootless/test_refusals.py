from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nsrun.host.rootless.holder import PROGRAM
from nsrun.host.rootless.refusals import PROFILE, UsernsFacts, explain, userns_facts
from nsrun.support.native import abi

RESTRICTED = UsernsFacts(most=100, restricted=True, label="unconfined")


@pytest.mark.parametrize(
    ("step", "error", "facts", "message", "hint"),
    [
        (
            abi.NS_HOLDER_USER,
            errno.ENOSPC,
            UsernsFacts(most=0),
            "cannot make a user namespace: no space left on device (ENOSPC): user.max_user_namespaces is 0",
            "sudo sysctl -w user.max_user_namespaces=1000; a file in /etc/sysctl.d keeps it",
        ),
        (
            abi.NS_HOLDER_USER,
            errno.ENOSPC,
            UsernsFacts(most=5000),
            "user.max_user_namespaces is 5000",
            "sudo sysctl -w user.max_user_namespaces=10000",
        ),
        (
            abi.NS_HOLDER_USER,
            errno.EPERM,
            UsernsFacts(most=100, cloning=False),
            "cannot make a user namespace: operation not permitted (EPERM): kernel.unprivileged_userns_clone is 0",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (abi.NS_HOLDER_USER, errno.EPERM, UsernsFacts(most=100, cloning=True), "cannot make a user", "seccomp"),
        (
            abi.NS_HOLDER_OTHERS,
            errno.EPERM,
            RESTRICTED,
            "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "sudo apparmor_parser -r /etc/apparmor.d/nsrun",
        ),
        (abi.NS_HOLDER_MOUNTS, errno.EACCES, RESTRICTED, "AppArmor restricts", "sudo tee /etc/apparmor.d/nsrun"),
    ],
)
def test_each_refusal_has_its_remedy(step: int, error: int, facts: UsernsFacts, message: str, hint: str) -> None:
    told = explain(step, error, facts)
    assert message in told.message
    assert hint in (told.hint or "")


@pytest.mark.parametrize(
    ("facts", "confined"),
    [
        (RESTRICTED, True),
        (UsernsFacts(restricted=True, label="unprivileged_userns (enforce)"), True),
        (UsernsFacts(restricted=True, label=""), True),
        (UsernsFacts(restricted=True, label="nsrun-holder (unconfined)"), False),
        (UsernsFacts(restricted=False, label="unconfined"), False),
        (UsernsFacts(label="unconfined"), False),
    ],
)
def test_who_is_restricted(facts: UsernsFacts, confined: bool) -> None:
    assert facts.confined is confined


def test_nobody_else_is_told_of_apparmor() -> None:
    assert "AppArmor" not in explain(abi.NS_HOLDER_MOUNTS, errno.EACCES, UsernsFacts(restricted=False)).message


def test_facts_are_read_where_they_are(tmp_path: Path) -> None:
    assert userns_facts(tmp_path) == UsernsFacts()
    for name, text in {
        "sys/user/max_user_namespaces": "12\n",
        "sys/kernel/unprivileged_userns_clone": "0\n",
        "sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
        "self/attr/apparmor/current": "unconfined\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert userns_facts(tmp_path) == UsernsFacts(most=12, cloning=False, restricted=True, label="unconfined")


def test_the_profile_is_for_the_programs_that_are_shipped() -> None:
    lines = PROFILE.read_text().replace("@BIN@", str(PROGRAM.parent)).splitlines()
    attached = [Path(line.split()[2]) for line in lines if line.startswith("profile ")]
    assert PROGRAM in attached
    assert all(path.is_file() for path in attached)
    assert lines.count("  userns,") == len(attached)
