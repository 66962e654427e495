"""``nsrun cp`` with real containers: their mounts, their users, what they would like to see run."""

from __future__ import annotations

import filecmp
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.e2e.lives import ended, pod, shell, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

# Every program that a copy by exec would need is one that tells on it.
EVIL = r"""
for tool in tar cat ls sh cp; do
    printf '#!/bin/busybox sh\ntouch /evil\n' > /tmp/$tool; chmod 755 /tmp/$tool; mv /tmp/$tool /bin/$tool
done
mkdir -p /srv/data; ln -s /../../../../../.. /srv/up; ln -s /proc/1/root /srv/magic; ln -s /etc/hosts /srv/link
echo of-the-container > /etc/secret; echo kept > /srv/data/file; echo ready > /shared/ready
"""


def tree(base: Path) -> Path:
    root = base / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(os.urandom(300_000))
    (root / "sub" / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "sub" / "tool").chmod(0o4755)
    (root / "sub" / "link").symlink_to("../file")
    return root


def same(one: Path, other: Path) -> bool:
    compared = filecmp.dircmp(one, other)
    return not (compared.left_only or compared.right_only or compared.diff_files or compared.funny_files) and all(
        same(one / name, other / name) for name in compared.common_dirs
    )


def refused(nsrun: Nsrun, *arguments: str) -> str:
    done = nsrun.cli("cp", *arguments, check=False)
    assert done.returncode == 1, done
    return done.stderr


def logged(nsrun: Nsrun, name: str, last: str) -> list[str]:
    """What the pod's container main wrote, once that is in it."""
    return eventually(
        lambda: said.splitlines() if last in (said := nsrun.cli("logs", name, "-c", "main").stdout) else []
    )


def test_in_and_out(loaded: Nsrun, tmp_path: Path) -> None:
    root = tree(tmp_path)
    (tmp_path / "out").mkdir()
    loaded.start()
    locked = {"securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 7}}
    watch = (
        EVIL + "until [ -e /shared/go ]; do busybox sleep 0.05; done; "
        "busybox find /srv/new /shared/u -exec busybox stat -c '%n %u %g %a' {} +; busybox cat /etc/hosts; "
        "[ -e /evil ] && echo EVIL; echo all; exec busybox sleep 1000"
    )
    other = shell("other", "until [ -e /shared/ready ]; do sleep 0.05; done; exec sleep 1000", **locked)
    loaded.apply("web.json", pod("web", shell("main", watch), other))
    loaded.ready("web")
    ready = tmp_path / "ready"
    eventually(lambda: loaded.cli("cp", "web:/shared/ready", str(ready), check=False).returncode == 0)
    loaded.kill()  # nothing of this needs the daemon

    loaded.cli("cp", str(root), "web:/srv/new")
    loaded.cli("cp", "-c", "other", f"{root}/.", "default/web:/shared/u/")
    loaded.cli("cp", "-c", "other", f"{root}/.", "web:/shared/u")
    loaded.cli("cp", "pod/web:/srv/new", str(tmp_path / "out"))
    loaded.cli("cp", "web:srv/new/.", str(tmp_path / "as"))
    assert same(root, tmp_path / "out" / "new")
    assert same(root, tmp_path / "as")
    assert os.readlink(tmp_path / "as" / "sub" / "link") == "../file"
    assert (tmp_path / "as" / "sub" / "tool").stat().st_mode & 0o7777 == 0o755

    # Mounted files are written where they are; links are those of the container.
    (tmp_path / "hosts").write_text("127.0.0.1 localhost of-the-test\n")
    loaded.cli("cp", str(tmp_path / "hosts"), "web:/srv/link")
    loaded.cli("cp", "web:/srv/up/etc/secret", str(tmp_path / "secret"))
    assert (tmp_path / "secret").read_text() == "of-the-container\n"
    assert "ELOOP" in refused(loaded, "web:/srv/magic/etc/passwd", str(tmp_path / "x"))
    assert "EROFS" in refused(loaded, "-c", "other", str(tmp_path / "hosts"), "web:/new")
    assert "passed over" in loaded.cli("cp", "web:/dev/.", str(tmp_path / "dev")).stderr
    assert sorted(p.name for p in (tmp_path / "dev").iterdir() if not p.is_symlink()) == [
        "mqueue",
        "pts",
        "shm",
        "termination-log",
    ]

    # Archives, as podman's.
    argv = loaded.command("cp", "web:/srv/data", "-")
    archive = subprocess.run(argv, env=loaded.environ(), stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        assert read.getnames() == ["data", "data/file"]
    argv = loaded.command("cp", "-", "web:/shared")
    subprocess.run(argv, env=loaded.environ(), input=archive, check=True)
    loaded.cli("cp", "web:/shared/data/file", str(tmp_path / "kept"))
    assert (tmp_path / "kept").read_text() == "kept\n"
    no_archive = subprocess.run(argv, env=loaded.environ(), input=b"x" * 2000, capture_output=True)
    assert no_archive.returncode == 1
    assert b"must be a tar archive" in no_archive.stderr

    (tmp_path / "go").touch()
    loaded.cli("cp", str(tmp_path / "go"), "web:/shared")
    loaded.start()
    lines = logged(loaded, "web", "\nall\n")
    assert "/srv/new 0 0 755" in lines
    assert "/srv/new/sub/tool 0 0 755" in lines
    assert "/shared/u 7 0 755" in lines
    assert "/shared/u/file 7 0 644" in lines
    assert "127.0.0.1 localhost of-the-test" in lines
    assert "EVIL" not in lines


def test_containers_with_users_of_their_own(loaded: Nsrun, tmp_path: Path) -> None:
    root = tree(tmp_path)
    os.chown(root / "file", 5, 6)
    loaded.start()
    script = (
        "mkdir -m 777 /srv; until [ -e /srv/go ]; do sleep 0.05; done; "
        "find /srv /shared -mindepth 1 -exec stat -c '%n %u %g %a' {} +; echo all; exec sleep 1000"
    )
    user = {"securityContext": {"runAsUser": 0, "runAsGroup": 9}}
    loaded.apply("own.json", pod("own", shell("main", script, **user), hostUsers=False))
    loaded.ready("own")
    eventually(lambda: loaded.cli("cp", str(root), "own:/srv/plain", check=False).returncode == 0)
    loaded.cli("cp", str(root), "own:/shared/plain")
    loaded.cli("cp", "-a", f"{root}/.", "own:/shared/archive")
    loaded.cli("cp", "--no-preserve", str(root / "file"), "own:/srv/go")
    lines = logged(loaded, "own", "\nall\n")
    for line in (
        "/srv/plain 0 9 755",
        "/srv/plain/file 0 9 644",
        "/srv/plain/sub/link 0 9 777",
        "/srv/go 0 9 644",
        "/shared/plain/file 0 9 644",
        "/shared/plain/sub/tool 0 9 755",
        "/shared/archive/file 5 6 644",
        "/shared/archive/sub/tool 0 0 4755",
    ):
        assert line in lines, lines
    loaded.cli("cp", "-a", "own:/shared/archive/.", str(tmp_path / "archive"))
    status = (tmp_path / "archive" / "file").stat()
    assert (status.st_uid, status.st_gid) == (5, 6)
    loaded.cli("cp", "own:/shared/archive/file", str(tmp_path / "plain"))
    assert (tmp_path / "plain").stat().st_uid == os.geteuid()


def test_what_cannot_be_copied(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    loaded.apply(
        "done.json", pod("done", shell("main", "exit 0"), shell("on", "exec sleep 1000"), restartPolicy="Never")
    )
    there = str(tmp_path / "x")
    eventually(lambda: loaded.cli("cp", "-c", "on", "done:/etc/passwd", there, check=False).returncode == 0)
    until(loaded, "done", ended("main", 0))
    assert 'cannot open the root of container "main": it does not run' in refused(loaded, "done:/etc", there)
    assert 'cannot find container "no" in pod "done"' in refused(loaded, "-c", "no", "done:/etc", there)
    assert "no such file" in refused(loaded, "-c", "on", "done:/nothing", there)
    assert "the destination is a file" in refused(loaded, "-c", "on", "done:/etc", there)
    assert 'cannot find pod "nobody"' in refused(loaded, "nobody:/etc", there)
    for arguments in (("a", "b"), ("p:/a", "p:/b"), ("-", "-"), ("-", "a"), ("-a", "--no-preserve", "p:/a", "b")):
        assert loaded.cli("cp", *arguments, check=False).returncode == 2
