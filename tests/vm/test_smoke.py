"""nsrun in a machine with pure cgroup v2, systemd and a distribution's kernel: the end of ``./dev test``.

One thawed machine runs the tests of ``guest/``, of the cgroups and of AppArmor; each of its results is a result here.
A second one is rebooted. Skipped without QEMU.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from vagrant.channel import Job
from vagrant.machine import Machine
from vagrant.torture import torture
from vagrant.vm import Prepared, boot_kept, prepare, thawed

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.vm,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("vm"),
    pytest.mark.skipif(os.environ.get("NSRUN_TEST_VM") == "no", reason="./dev test could not make the machine"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed: ./dev vm does that"),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed: ./dev vm does that"),
]

REPO = Path(__file__).resolve().parent.parent.parent
FILES = (
    "tests/vm/guest/test_on_v2.py",
    "tests/system/cgroups/test_figures.py",
    "tests/system/cgroups/test_cgroups.py",
    "tests/system/cgroups/test_devices.py",
    "tests/system/runtime/test_labels.py",
)
SECONDS = 1140.0


def names(file: str) -> list[str]:
    """The tests of a file, without importing it."""
    return [
        n.name
        for n in ast.parse((REPO / file).read_text()).body
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name.startswith("test_")
    ]


TESTS = [(file, name) for file in FILES for name in names(file)]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare("oldest")


@pytest.fixture(scope="module")
def results(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """Of each test, the outcomes of its variants: (passed | skipped | failed, what was said)."""
    directory = tmp_path_factory.mktemp("results")
    said = bytearray()
    argv = (".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml=build/results.xml", *FILES)
    with thawed(prepared) as machine:
        job = Job(argv=argv, env={"NSRUN_TEST_PATIENCE": "10"}, seconds=SECONDS)
        machine.run(job, out=said.extend, err=said.extend)
        machine.fetch("build/results.xml", directory)
    found: dict[str, list[tuple[str, str]]] = {}
    for case in ElementTree.parse(directory / "results.xml").iter("testcase"):
        bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        outcome = "passed" if bad is None else "skipped" if bad.tag == "skipped" else "failed"
        key = f"{case.get('classname')}.{str(case.get('name')).partition('[')[0]}"
        found.setdefault(key, []).append((outcome, "" if bad is None else f"{bad.get('message')}\n{bad.text}"))
    return found


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[f"{Path(file).stem}:{name}" for file, name in TESTS])
def test_in_the_machine(file: str, name: str, results: dict[str, list[tuple[str, str]]]) -> None:
    variants = results.get(f"{file.removesuffix('.py').replace('/', '.')}.{name}", [])
    for outcome, said in variants:
        if outcome == "failed":
            pytest.fail(said, pytrace=False)
    if not any(outcome == "passed" for outcome, _ in variants):
        pytest.skip(variants[0][1].strip() if variants else "it did not run")


START = (
    *("systemd-run", "--unit=pods", "--property=KillMode=process", f"--working-directory={REPO}"),
    *(f"{REPO}/.venv/bin/nsrun", "--manifests", f"{REPO}/manifests"),
)


@pytest.fixture
def machine(prepared: Prepared) -> Iterator[Machine]:
    with thawed(prepared) as machine:
        yield machine


READY = "until nsrun pods -o json 2>/dev/null | grep -q '\"ready\": *true'; do sleep 1; done; nsrun pods -o json"


def pod(machine: Machine) -> dict[str, object]:
    (found,) = json.loads(machine.check("sh", "-c", READY, seconds=240))["items"]
    assert isinstance(found, dict)
    return found


def test_pods_come_back_after_a_reboot_of_the_machine(machine: Machine) -> None:
    machine.check(*START)
    before = pod(machine)
    boot = machine.check("cat", "/proc/sys/kernel/random/boot_id").strip()
    machine.check("sync")
    machine.reset()
    machine.answer(not_boot=boot)
    machine.mount_tree()
    machine.check(*START)
    after = pod(machine)
    metadata = [p["metadata"] for p in (before, after)]
    assert metadata[0]["uid"] == metadata[1]["uid"]  # type: ignore[index]
    status = after["status"]
    assert isinstance(status, dict)
    assert {c["name"]: c["restartCount"] for c in status["containerStatuses"]} == {"nginx": 1, "log-truncator": 1}
    leases = machine.check("ls", "/run/nsrun/network/leases").split()
    assert [name for name in leases if name[:1].isdigit()] == [status["podIP"]]
    assert machine.check("sh", "-c", "ip netns list").split()[0] == "default_nginx"


def test_nothing_is_lost_when_the_plug_is_pulled(prepared: Prepared) -> None:
    """Once here; ``./dev vm torture`` does it ten times."""
    assert torture(lambda directory: boot_kept(prepared, directory), 1, print) == 0
