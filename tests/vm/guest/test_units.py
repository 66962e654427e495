"""``nsrun systemd install``, root's and a user's, with the systemd of the machine, which is thrown away afterwards.

systemd is spoken to, so this is for the machine's own namespaces, without the suite's: ``--noconftest``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import shell_pod
from tests.vm.guest.managed import HOME, IMAGES, MARKS, NSRUN, UID, as_dev, manager, said
from tests.waiting import eventually

__all__ = ["manager"]

pytestmark = MARKS

ENDLESS = "trap exit TERM; while true; do sleep 1000 & wait; done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose nsrun it is. ``as_owner``: the words that run a command as him; ``flags``: of systemctl and nsrun."""

    as_owner: Callable[..., list[str]]
    flags: tuple[str, ...]
    directory: Path

    def nsrun(self, *words: str) -> str:
        return said(*self.as_owner(NSRUN, *words))

    def systemctl(self, *words: str) -> str:
        return said(*self.as_owner("systemctl", *self.flags, *words)).strip()

    def main_pid(self) -> str:
        return self.systemctl("show", "--property=MainPID", "--value", "nsrun")

    def containers(self) -> list[str]:
        """The ids of those that run; none as long as nsrun does not answer."""
        try:
            listed: Any = json.loads(self.nsrun("pods", "-o", "json"))
        except AssertionError:
            return []
        statuses = [one for pod in listed["items"] for one in pod["status"].get("containerStatuses") or ()]
        return [str(one["containerID"]) for one in statuses if "running" in one["state"]]


ROOT = Owner(as_owner=lambda *words: list(words), flags=(), directory=Path("/etc/systemd/system"))
DEV = Owner(as_owner=as_dev, flags=("--user",), directory=HOME / ".config/systemd/user")


@pytest.fixture(params=[ROOT, DEV], ids=["root", "user"])
def owner(request: pytest.FixtureRequest, manager: None) -> Iterator[Owner]:
    owner: Owner = request.param
    owner.nsrun("load", str(IMAGES))
    yield owner
    owner.nsrun("down")


@pytest.fixture
def manifests(owner: Owner) -> Iterator[Path]:
    """A pod's, in a directory with a name that wants to be quoted."""
    directory = HOME / "my pods"
    directory.mkdir()
    (directory / "web.yaml").write_text(shell_pod("web", ENDLESS, restart="Always") + "  hostNetwork: true\n")
    os.chown(directory, UID, UID)
    yield directory
    shutil.rmtree(directory)


def test_pods_outlive_the_unit(owner: Owner, manifests: Path) -> None:
    owner.nsrun("systemd", *owner.flags, "install", "--now", str(manifests), "--", "--verbose")
    unit = owner.directory / "nsrun.service"
    assert unit.is_file()
    assert owner.systemctl("is-enabled", "nsrun") == "enabled"
    before = eventually(owner.containers, seconds=60, every=1, what="the pod runs")
    first = owner.main_pid()

    owner.systemctl("kill", "--kill-whom=main", "--signal=KILL", "nsrun")
    eventually(lambda: owner.main_pid() not in ("0", first), seconds=60, every=1, what="systemd has started it again")
    assert eventually(owner.containers, seconds=60, every=1, what="it answers again") == before

    owner.systemctl("restart", "nsrun")
    assert eventually(owner.containers, seconds=60, every=1, what="it answers again") == before

    owner.nsrun("systemd", *owner.flags, "uninstall")
    assert not unit.exists()
    assert owner.containers() == []
    assert said("pgrep", "--full", "^nsrun-shim default/web")
