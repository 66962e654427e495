"""Two nsruns on one machine, and directories that are somebody else's: nsrun keeps to what is its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import owned_cgroups
from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

OTHER_FLAGS = {
    "NSRUN_BRIDGE": "nsrun1",
    "NSRUN_POD_CIDR": "10.98.0.0/16",
    "NSRUN_READ_ONLY_PORT": "10256",
    "NSRUN_PORT": "10251",
}


@pytest.fixture
def second(tmp_path: Path, cgroup_root: str, demo_images: Path) -> Iterator[Nsrun]:
    """A second nsrun with a bridge, addresses, a cgroup and directories of its own, and images."""
    program = Nsrun(base=tmp_path / "second", cgroup_root=f"{cgroup_root}-second", environment=OTHER_FLAGS)
    program.cli("load", str(demo_images))
    yield program
    if program.process is not None and program.process.poll() is None:
        program.kill()
    program.cli("down")
    owned_cgroups.remove(program.cgroup_root)


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_two_nsruns_do_not_touch_each_other(loaded: Nsrun, second: Nsrun) -> None:
    loaded.start()
    loaded.apply("a.yaml", shell_pod("a", "httpd -f -p 80", restart="Always"))
    loaded.ready("a")
    second.start()
    second.apply("b.yaml", shell_pod("b", "httpd -f -p 80", restart="Always"))
    address = str(second.ready("b")["status"]["podIP"])  # type: ignore[index]
    assert address.startswith("10.98.")
    loaded.kill()
    loaded.start()
    loaded.ready("a")
    assert [pod["metadata"]["name"] for pod in loaded.pods()] == ["a"]  # type: ignore[index]
    loaded.cli("down")
    assert loaded.process is not None
    loaded.process.wait(10 * PATIENCE)
    assert "nsrun1" in output("nft", "list", "tables")
    assert "nsrun0" not in output("nft", "list", "tables")
    assert output("ip", "netns", "list").split()[0] == "default_b"
    eventually(lambda: output("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{address}/") == "404")


def test_a_pod_of_the_same_name_beside_another_nsrun_is_refused_and_harms_nobody(loaded: Nsrun, second: Nsrun) -> None:
    loaded.start()
    loaded.apply("a.yaml", shell_pod("a", "sleep 1000"))
    loaded.ready("a")
    namespace = output("ip", "netns", "exec", "default_a", "readlink", "/proc/self/ns/net")
    second.start()
    second.apply("a.yaml", shell_pod("a", "sleep 1000"))
    eventually(lambda: "it is in use, and not by this nsrun" in second.said(), what=second.said())
    (second.manifests / "a.yaml").unlink()
    second.gone("a")
    assert output("ip", "netns", "exec", "default_a", "readlink", "/proc/self/ns/net") == namespace


def test_a_second_nsrun_on_the_same_bridge_or_root_is_turned_away(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    loaded.apply("a.yaml", shell_pod("a", "sleep 1000"))
    loaded.ready("a")
    before = loaded.said()
    other = tmp_path / "other"
    other.mkdir()
    flags = ("--manifests", str(other), "--read-only-port", "0", "--port", "0")
    same_bridge = loaded.cli("--root", f"{other}/root", "--run-dir", f"{other}/run", *flags, check=False)
    assert same_bridge.returncode == 1
    assert f'cannot use bridge "nsrun0": it is that of the nsrun in "{loaded.run_dir}"' in same_bridge.stderr
    same_root = loaded.cli("--run-dir", f"{other}/run", *flags, check=False)
    assert same_root.returncode == 1
    assert f'another nsrun owns "{loaded.root}"' in same_root.stderr
    loaded.cli(
        "--root", f"{other}/root", "--run-dir", f"{other}/run", "--cgroup-root", f"{loaded.cgroup_root}-2", "down"
    )
    assert "nsrun0" in output("nft", "list", "tables")
    assert loaded.said() == before
    assert loaded.ready("a")


@pytest.mark.parametrize("flag", ["--run-dir", "--root"])
def test_a_directory_of_somebody_elses_is_neither_used_nor_emptied(nsrun: Nsrun, tmp_path: Path, flag: str) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "pods" / "important").mkdir(parents=True)
    (theirs / "letter.txt").write_text("dear reader")
    for command in (("--manifests", str(tmp_path)), ("down",)):
        done = nsrun.cli(flag, str(theirs), *command, check=False)
        assert done.returncode == 1
        assert f'cannot use "{theirs}": "letter.txt" in it is not nsrun\'s' in done.stderr
    assert sorted(path.name for path in theirs.rglob("*")) == ["important", "letter.txt", "pods"]


def test_down_leaves_a_mounted_run_directory_in_its_place(loaded: Nsrun) -> None:
    loaded.run_dir.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(loaded.run_dir)], check=True)
    loaded.start()
    loaded.apply("a.yaml", shell_pod("a", "sleep 1000"))
    loaded.ready("a")
    loaded.cli("down")
    assert list(loaded.run_dir.iterdir()) == []
    subprocess.run(["umount", str(loaded.run_dir)], check=True)
