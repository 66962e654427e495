"""What is started for a moment, or two hundred times, loads only what it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    *("aiohttp", "asyncio", "ctypes", "difflib", "email", "hashlib", "http", "jsonschema", "pyroute2", "rich", "ssl"),
    *("subprocess", "tempfile", "urllib.request", "yaml", "nsrun.cli.daemon_flags"),
}


@pytest.mark.parametrize("verb", ["ps", "pods", "logs"])
def test_verbs_that_look_load_little(verb: str) -> None:
    arguments = ["--run-dir", "/nonexistent", verb, *(["web"] if verb == "logs" else [])]
    program = (
        "import sys\n"
        "from nsrun.cli.main import cli\n"
        "try:\n"
        f"    cli.main({arguments!r}, standalone_mode=False)\n"
        "except Exception as error:\n"
        "    print(error)\n"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    told, loaded = done.stdout.splitlines()
    assert "no nsrun is running here" in told
    assert loaded == "[]"
