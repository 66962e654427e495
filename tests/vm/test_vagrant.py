"""The Vagrantfile is one that vagrant accepts, and its provisioning is the one that ``./dev vm`` proves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("box", ["debian", "ubuntu", "ubuntu2204"])
def test_vagrant_accepts_it(box: str, repo: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "NSRUN_BOX": box,
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "HOME": str(tmp_path),
    }
    words = [tool("vagrant"), "validate", "--ignore-provider"]
    done = subprocess.run(words, cwd=repo / "vagrant", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_machines_are_provisioned_by_one_script(repo: Path) -> None:
    assert "provision.sh" in (repo / "vagrant/Vagrantfile").read_text()
    assert '"vagrant/provision.sh"' in (repo / "vagrant/vm.py").read_text()
