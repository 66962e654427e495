"""Starts the scenes of ``inside.py`` as an ordinary user in a user namespace of his."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.rootless.conftest import Account

REPO = Path(__file__).resolve().parent.parent.parent

# Ids by newuidmap and newgidmap; or the user alone.
RANGES, SINGLE = ("--map-auto", "--map-root-user"), ("--map-root-user",)


def play(account: Account, scene: str, *, ids: tuple[str, ...] = RANGES, **words: object) -> Any:
    """The scene's answer. ``root``: a directory in the user's home unless it is given."""
    directory = account.home / "root"
    own = ("mkdir", "-p", str(directory))
    assert account.run(*own).returncode == 0
    world = ("unshare", "--user", *ids, "--mount", sys.executable, "-m", "tests.rootless.inside", scene)
    done = account.run(
        *world, input=json.dumps({"root": str(directory), **words}), environment={"PYTHONPATH": str(REPO)}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
