"""What a pull loads: its start is a good part of its time."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"aiohttp", "jsonschema", "attr", "nsrun.model.pod", "nsrun.model.figures", "nsrun.images.archive"}


def test_a_pull_loads_little() -> None:
    program = (
        "import sys, nsrun.assembly, nsrun.images.registry\n"
        "from nsrun.images.schemas import schema_problem\n"
        "assert schema_problem('oci-index', {'schemaVersion': 2, 'manifests': []}) is None\n"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
