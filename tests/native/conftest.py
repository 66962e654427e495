"""Fixtures of the native tests: the programs, built once a session, and pods."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.native.forward_site import Site, make_site
from tests.native.pods import Pod, eventually, process_gone

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Where the built programs are."""

    directory: Path

    @property
    def pause(self) -> Path:
        return self.directory / "pause"

    @property
    def reporter(self) -> Path:
        return self.directory / "reporter"

    def shim(self, kind: str) -> Path:
        return self.directory / {"plain": "nsrun-shim", "sanitized": "nsrun-shim-asan"}[kind]

    def forward(self, kind: str) -> Path:
        return self.directory / {"plain": "nsrun-forward", "sanitized": "nsrun-forward-asan"}[kind]


@pytest.fixture(scope="session")
def programs(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Shim (plain and sanitized), pause, and the reporter that runs in containers."""
    directory = tmp_path_factory.mktemp("programs")
    make = ["make", "--silent", "-C", str(repo / "native"), f"BIN={directory}", "programs", "asan"]
    subprocess.run(make, check=True)
    cc = os.environ.get("CC", "cc")
    subprocess.run([cc, "-O1", "-static", "-o", directory / "reporter", HERE / "reporter.c"], check=True)
    return Programs(directory=directory)


@pytest.fixture(params=["plain", "sanitized"])
def pod(request: pytest.FixtureRequest, programs: Programs) -> Iterator[Pod]:
    """A pod with a running shim, once with the shim as it is shipped and once with the sanitizers'."""
    yield from make_pod(programs, request.param)


@pytest.fixture
def plain_pod(programs: Programs) -> Iterator[Pod]:
    """The same with the shipped shim only."""
    yield from make_pod(programs, "plain")


@pytest.fixture(params=["plain", "sanitized"])
def site(request: pytest.FixtureRequest, programs: Programs, tmp_path: Path) -> Iterator[Site]:
    """The host's network and the pods', for a forwarder of either kind."""
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    with make_site(directory, programs.forward(request.param)) as made:
        yield made


def make_pod(programs: Programs, kind: str) -> Iterator[Pod]:
    """Afterwards nothing may be left of it: no process, no mount, no descriptor of ours."""
    # Not the tests' own /run: before Linux 6.3 a tmpfs has no idmapped mounts.
    base = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="nsrun-native-"))
    base.chmod(0o755)
    mounts = Path("/proc/self/mountinfo").read_text()
    before = own_processes()
    try:
        pod = Pod(base=base, program=programs.shim(kind), reporter=programs.reporter, pause=programs.pause)
        yield pod
        pod.close()
        eventually(lambda: own_processes() <= before, "the end of every process")
        assert Path("/proc/self/mountinfo").read_text() == mounts
    finally:
        shutil.rmtree(base, ignore_errors=True)


def own_processes() -> set[int]:
    """Live processes in the network namespace of this worker; other workers' are in theirs."""
    own = os.stat("/proc/self/ns/net").st_ino
    return {int(name) for name in os.listdir("/proc") if name.isdigit() and lives_in(int(name), own)}


def lives_in(pid: int, network: int) -> bool:
    """Of a process that ends meanwhile the kernel says that the link may not be followed (fs/proc/namespaces.c,
    ``proc_ns_get_link``)."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == network and not process_gone(pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
