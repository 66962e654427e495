"""Whose files count for who is root in a namespace of his own only."""

from __future__ import annotations

import json

import pytest

from tests.rootless.conftest import Account

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

HELPER = """#!/bin/sh
echo '{"ServerURL": "r.example", "Username": "somebody", "Secret": "x"}'
"""


def login_shown(account: Account, place: str, owner: int, *, inside: bool) -> tuple[str, str]:
    """What ``login --get-login`` says, of a helper in ``place`` that belongs to ``owner``."""
    account.as_root(
        f"mkdir -p {place}; mount -t tmpfs -o mode=755,uid={owner} tmpfs {place}; cd {place}; "
        f"cat >docker-credential-test <<'END'\n{HELPER}END\n"
        f"chmod 755 docker-credential-test; chown {owner} docker-credential-test"
    )
    (account.home / "auth.json").write_text(json.dumps({"credHelpers": {"r.example": "test"}}))
    if inside:
        assert account.run("nsrun", "image", "mount").returncode == 0
    path = f"{account.environment['PATH']}:{place}"
    words = ("nsrun", "login", "--get-login", "r.example", "--authfile", str(account.home / "auth.json"))
    done = account.run(*words, environment={"PATH": path})
    return done.stdout, done.stderr


@pytest.mark.parametrize("inside", [True, False])
def test_credential_helpers_of_the_system_are_trusted(account: Account, inside: bool) -> None:
    """Inside, the host's root looks like nobody."""
    assert login_shown(account, "/usr/local/games", 0, inside=inside)[0] == "somebody\n"


def test_credential_helpers_of_others_are_not(account: Account) -> None:
    shown, said = login_shown(account, "/srv", 12345, inside=True)
    assert shown == ""
    assert "docker-credential-test" in said


def test_short_names_are_remembered_at_home(account: Account) -> None:
    """/var/cache is root's, of the host."""
    script = "import os, nsrun.images.registries as them; print(them.load_registries(None, os.environ).recorded)"
    done = account.run("nsrun", "unshare", "--", "python3", "-c", script)
    assert done.stdout == f"{account.home}/.cache/containers/short-name-aliases.conf\n"
