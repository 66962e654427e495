"""What goes wrong around nsrun: full disks, closed terminals, callers without rights, a daemon that does not answer."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.lives import phase, until
from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def test_a_full_run_directory_is_told_harms_nobody_and_is_got_over(loaded: Nsrun) -> None:
    loaded.run_dir.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(loaded.run_dir)], check=True)
    loaded.start()
    loaded.apply("early.yaml", shell_pod("early", "sleep 1000"))
    before = loaded.ready("early")
    ballast = loaded.run_dir / "pods" / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
    loaded.apply("late.yaml", shell_pod("late", "sleep 1000"))
    eventually(lambda: "no space left on device (ENOSPC) (no space is left there" in loaded.said(), what=loaded.said())
    waiting = loaded.cli("inspect", "late").stdout
    assert "ENOSPC" in waiting
    ballast.unlink()
    loaded.ready("late")
    assert loaded.ready("early")["status"] == before["status"]
    loaded.cli("down", "--time", "1")
    subprocess.run(["umount", str(loaded.run_dir)], check=True)


@pytest.mark.parametrize("size", ["3m", "9m"])
def test_a_full_disk_under_a_load(nsrun: Nsrun, demo_images: Path, size: str) -> None:
    nsrun.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(nsrun.root)], check=True)
    done = nsrun.cli("load", str(demo_images), check=False)
    assert done.returncode == 1
    assert "no space left on device (ENOSPC)" in done.stderr
    assert "Traceback" not in done.stderr
    subprocess.run(["mount", "-o", "remount,size=64m", str(nsrun.root)], check=True)
    nsrun.cli("load", str(demo_images))
    assert "nginx" in nsrun.cli("images").stdout


def test_output_that_cannot_be_written_is_one_sentence(nsrun: Nsrun) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(
            nsrun.command("version"), env=nsrun.environ(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "nsrun: cannot write the output: no space left on device (ENOSPC)\n"


def test_the_end_of_the_terminal_leaves_the_pods_running(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("a.yaml", shell_pod("a", "sleep 1000"))
    loaded.ready("a")
    loaded.apply("b.yaml", shell_pod("b", "exit 0"))
    until(loaded, "b", phase("Succeeded"))
    assert loaded.terminate(signal.SIGHUP) == 0
    assert "1 pod keeps running" in loaded.said()
    assert not loaded.socket.exists()


def test_another_user_is_told_what_to_do(loaded: Nsrun) -> None:
    loaded.start()
    loaded.base.chmod(0o755)
    as_nobody = ("setpriv", "--reuid", "65534", "--clear-groups")
    remedies = {"pods": "sudo", "down": "a directory of yours", "logs": "sudo", "--manifests": "a directory of yours"}
    for arguments in (("pods",), ("down",), ("logs", "a"), ("--manifests", "/")):
        done = subprocess.run(
            [*as_nobody, *loaded.command(*arguments)], env=loaded.environ(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "permission denied" in done.stderr
        assert remedies[arguments[0]] in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flag", "value", "complaint"),
    [
        ("--bridge", "a-name-that-is-too-long", "is no name for a bridge"),
        ("--bridge", "a b", "is no name for a bridge"),
        ("--file-check-frequency", "0", "must be more than nothing"),
        ("--pod-cidr", "10.99.0.0/31", "too small"),
        ("--cgroup-root", "../x", "a relative path of plain names is needed"),
    ],
)
def test_settings_that_make_no_sense(nsrun: Nsrun, flag: str, value: str, complaint: str) -> None:
    done = nsrun.cli("--manifests", "/", flag, value, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "running the pods" not in done.stderr
