"""By what a container's files lie over its image: each way is forced by what is really in the way of the others."""

from __future__ import annotations

import pytest

from tests.rootless.conftest import Account
from tests.rootless.scenes import play

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

UPPER = {"etc/new": "from above\n", "bin2": "x", "tmp": None, "var/": "", "var/only": "this\n"}
LOOK = "cat /etc/new; ls /var; test -e /tmp || echo hidden; test -s /etc/passwd && echo below; rm /bin2 && echo x >/a"
NO_FUSE = "mknod -m 600 /run/no-fuse c 10 229; mount --bind /run/no-fuse /dev/fuse"


def hide_disk(account: Account) -> None:
    """The user's home is an overlay itself, which the kernel takes as upper layer of none."""
    home = account.home
    account.as_root(
        f"mkdir -p {home}/l {home}/u {home}/w {home}/root; chown -R {account.uid}:{account.uid} {home}; "
        f"mount -t overlay -o lowerdir={home}/l,upperdir={home}/u,workdir={home}/w overlay {home}/root; "
        f"chown {account.uid}:{account.uid} {home}/root"
    )


def test_the_kernels_own_with_userxattr(account: Account) -> None:
    answer = play(account, "container", script=LOOK, upper=UPPER)

    assert (answer["flavour"], answer.get("code")) == ("USER", 0), answer
    assert answer["output"] == "from above\nonly\nhidden\nbelow\n"


def test_fuse_where_the_file_system_refuses(account: Account) -> None:
    hide_disk(account)
    answer = play(account, "container", script="echo x >/mine && rm /bin/vi; mount | grep ' / '; id -u; ls -l /mine")

    assert (answer["flavour"], answer.get("code")) == ("FUSE", 0), answer
    assert "type fuse (rw,nodev" in answer["output"]
    assert "overlayfs cannot write to its file system" in answer["refused"]
    assert answer["programs"] == 0  # it ends with its container


def test_a_copy_where_there_is_no_fuse_either(account: Account) -> None:
    hide_disk(account)
    account.as_root(NO_FUSE)
    answer = play(account, "container", script="echo x >/mine && ls -l /bin/busybox && ls / | wc -l")

    assert (answer["flavour"], answer.get("code")) == ("COPY", 0), answer
    assert "root     root" in answer["output"]


def test_a_copy_shows_what_overlays_show(account: Account) -> None:
    """On a disk that keeps no attributes of users, as some network's."""
    disk = account.home / "root"
    account.as_root(f"mkdir -p {disk}; mount -t ramfs ramfs {disk}; chmod 777 {disk}; {NO_FUSE}")
    upper = {name: text for name, text in UPPER.items() if not name.endswith("/")}
    answer = play(account, "container", script=LOOK, upper=upper)

    assert (answer["flavour"], answer.get("code")) == ("COPY", 0), answer
    assert "keeps no extended attributes of users" in answer["refused"]
    assert answer["output"].splitlines()[0] == "from above"
    assert answer["output"].endswith("hidden\nbelow\n")


@pytest.mark.parametrize("obstacle", ["overlay", "no fuse"])
def test_doctor_says_which_and_why(account: Account, obstacle: str) -> None:
    hide_disk(account)
    if obstacle == "no fuse":
        account.as_root(NO_FUSE)
    said = account.run("nsrun", "--root", str(account.home / "root"), "doctor").stdout

    assert "warn  overlayfs: overlayfs cannot write to its file system: invalid argument (EINVAL)" in said
    expected = "begins with a copy of its whole image" if obstacle == "no fuse" else "go through fuse-overlayfs"
    assert expected in said
