"""What is started for a moment, or two hundred times, loads only what it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nsrun.support.layout import Layout, PodName

HEAVY = {
    *("aiohttp", "asyncio", "ctypes", "difflib", "email", "hashlib", "http", "jsonschema", "pyroute2", "rich", "ssl"),
    *("subprocess", "tempfile", "urllib.request", "yaml", "nsrun.cli.serving.daemon_flags"),
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


# All that `nsrun exec` loads beside what every Python has: what is added here, each command waits for.
LOADED_BY_EXEC = {
    *("__future__", "_cffi_backend", "_socket", "errno", "fcntl", "gc"),
    *("nsrun", "nsrun._native", "nsrun._native.lib", "nsrun.cli", "nsrun.errors", "nsrun.runtime", "nsrun.support"),
    *(f"nsrun.cli.{name}" for name in ("flagtable", "outcome", "plainwords", "podnames", "program", "sessions")),
    *(f"nsrun.cli.sessions.{name}" for name in ("execution", "runs", "shims", "streaming")),
    *(f"nsrun.runtime.{name}" for name in ("environment", "exectemplate", "shimsocket", "travel")),
    *(f"nsrun.support.{name}" for name in ("fds", "native", "record", "relay", "runpaths")),
}


@pytest.mark.parametrize("container", [(), ("-c", "main")], ids=["default", "named"])
def test_exec_loads_what_it_must(tmp_path: Path, container: tuple[str, ...]) -> None:
    layout = Layout(run_dir=tmp_path)
    layout.container_run("uid", "main", 0).mkdir(parents=True)
    layout.default_container("uid").symlink_to("containers/main")
    layout.run_names.mkdir()
    layout.run_name(PodName(namespace="default", name="web")).symlink_to("../pods/uid")
    arguments = ["--run-dir", str(tmp_path), "exec", *container, "web", "true"]
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from nsrun.cli.program import run\n"
        f"run({arguments!r})\n"
        f"print(sorted(set(sys.modules) - before - {LOADED_BY_EXEC!r}))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NSRUN_")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert "its pod does not run" in done.stderr
    assert done.stdout == "[]\n"
