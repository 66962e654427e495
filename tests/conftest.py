"""The suite's own world: nothing a test does can reach, or stay on, the machine that runs it.

As root, pytest starts itself again in network, mount and PID namespaces of its own; every xdist worker then takes
another network and mount namespace, with an empty /run. What dies with the namespaces needs no clean-up: bridges,
veths, nft rules, mounts, processes. Cgroups do not; tests get a subtree of their own (``cgroup_root``), removed at the
end, and those of a session that was killed by the next one.

With ``--rootless`` root makes an unprivileged user (``rootless/as_user.sh``), and pytest is that user's: root in a user
namespace of his, with namespaces that belong to it. What cannot be there is in ``rootless/differences.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import owned_cgroups
from tests.rootless.strict import Strict
from tests.waiting import PATIENCE, fewer

REPO = Path(__file__).resolve().parent.parent
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
# The same, of an unprivileged user's own, with ids by newuidmap and newgidmap (unshare(1)).
UNSHARE_AS_USER = ("unshare", "--user", "--map-auto", "--map-root-user", *UNSHARE[1:])
AS_USER = REPO / "tests" / "rootless" / "as_user.sh"
# PID 1 of the world: a shell, because it reaps the orphans that pytest would leave as zombies.
REAPER = ("sh", "-c", '"$@"; exit $?', "reaper")

if PATIENCE != 1:
    settings.register_profile("patient", deadline=None, max_examples=fewer(100))
    settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rootless", action="store_true", help="run the tests as an unprivileged user made for it")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("rootless"):
        config.pluginmanager.register(Strict())
    if os.geteuid() != 0 or config.getoption("collectonly", False):
        return
    if owned_cgroups.SESSION not in os.environ:
        capture = config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.stop_global_capturing()
        owned_cgroups.remove_of_the_dead()
        os.environ[owned_cgroups.SESSION] = owned_cgroups.session_name(os.getpid())
        world = _user_world() if config.getoption("rootless") else UNSHARE
        os.execvp(world[0], [*world, *REAPER, sys.executable, "-m", "pytest", *config.invocation_params.args])
    _own_world()


def _user_world() -> list[str]:
    """Of the environment what is said to tests and to pytest goes along; nothing is written into the checkout."""
    words = ("NSRUN_TEST_", "PYTEST_ADDOPTS")
    told = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(words)]
    # A short one: paths of sockets have 107 bytes.
    places = '--basetemp="$TMPDIR/t" -o cache_dir="${NSRUN_TEST_CACHE:-$TMPDIR/cache}"'
    run = f'HYPOTHESIS_STORAGE_DIRECTORY="$TMPDIR/hypothesis" exec "$@" {places}'
    return [str(AS_USER), "env", *told, "sh", "-c", run, "sh", *UNSHARE_AS_USER]


def _own_world() -> None:
    """A network and a mount namespace for this process, loopback up, /run and /sys of its own."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    clone_newns, clone_newnet = 0x00020000, 0x40000000
    if libc.unshare(clone_newns | clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "cannot unshare the test world")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def pytest_make_parametrize_id(val: object) -> str | None:
    """A megabyte of a value does not become a megabyte of a name; what begins alike is numbered by pytest."""
    return f"{val[:40]!a}..." if isinstance(val, str | bytes) and len(val) > 100 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        _stretch_timeout(item)
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root")
    for item in items:
        if item.get_closest_marker("root") is not None:
            item.add_marker(skip)


def _stretch_timeout(item: pytest.Item) -> None:
    """The limit of time for a whole test grows as the deadlines in it do (``tests/waiting.py``)."""
    marker = item.get_closest_marker("timeout")
    if marker is not None and PATIENCE != 1:
        item.add_marker(pytest.mark.timeout(marker.args[0] * PATIENCE), append=False)


@pytest.fixture
def cgroup_root() -> Iterator[str]:
    """The name of a cgroup, relative to each hierarchy's root, that this test owns; removed with all below it."""
    name = owned_cgroups.new_name()
    yield name
    owned_cgroups.remove(name)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The top of the tree."""
    return REPO


@pytest.fixture(scope="session")
def demo_images() -> Path:
    """The OCI image layout that ``./dev setup`` makes from distribution packages: nginx and busybox."""
    path = REPO / "build" / "images"
    if not (path / "index.json").is_file():
        pytest.fail(f"no images in {path}: run ./dev setup")
    return path


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """``tool("skopeo")`` gives the program's path, or skips the test when this machine has none."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find
