"""The whole suite in the machine: what runs there, what does not and why, and what became of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vagrant.image import REPO

__all__ = [
    "DONE",
    "NOT_IN_THE_MACHINE",
    "RESULTS",
    "SPEAK_TO_SYSTEMD",
    "Result",
    "commands",
    "compile_tests",
    "counts",
    "done",
    "failed",
    "known",
    "merged",
    "parse",
    "summary",
    "unparse",
]

# What the whole suite leaves out in the machine, with the reason. What skips itself there tells its own.
NOT_IN_THE_MACHINE = {
    "tests/test_linters.py": "linters look at the text, which is the same everywhere",
    "tests/vm/test_smoke.py": "no machine in the machine; tests/vm/guest, which it starts in one, runs",
}

# They need the machine's own namespaces, and get them in a run without tests/conftest.py, which makes others.
SPEAK_TO_SYSTEMD = ("tests/vm/guest/test_delegation.py", "tests/vm/guest/test_units.py")

# Where ``reporting.py`` writes, in the machine's copy of the tree.
RESULTS = "build/vm-results.jsonl"

# The tests that ``reporting.py`` leaves out, one a line: their results are known.
DONE = "build/vm-done.txt"

_SKIPPED_WIDTH = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``outcome``: passed, skipped or failed. ``at``: when it was over, in seconds since the epoch."""

    test: str
    outcome: str
    reason: str
    seconds: float
    at: float


def commands(arguments: Sequence[str]) -> list[list[str]]:
    """pytest, on both of the machine's processors, and for what speaks to systemd once more. When the caller's
    arguments name tests, what runs none of them is left out; others come last and have the last word."""
    named = [word for word in arguments if word.startswith("tests")]
    options = [word for word in arguments if word not in named]
    apart = [word for word in named if word.startswith(SPEAK_TO_SYSTEMD)]
    together = [word for word in named if word not in apart]
    apart += [path for path in SPEAK_TO_SYSTEMD if any(path.startswith(f"{word.rstrip('/')}/") for word in together)]
    left_out = [f"--ignore={path}" for path in (*NOT_IN_THE_MACHINE, *SPEAK_TO_SYSTEMD)]
    pytest = [".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "vagrant.reporting"]
    found = []
    if together or not named:
        found.append([*pytest, "-n", "2", "--dist", "loadgroup", *left_out, *options, *together])
    if apart or not named:
        found.append([*pytest, "--noconftest", *options, "-n", "0", *(apart or SPEAK_TO_SYSTEMD)])
    return found


def compile_tests() -> None:
    """Leaves the bytecode of the tests in the tree: pytest rewrites each of them, and an emulated processor takes
    minutes for that. What fails here fails in the machine again, where it is told."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": REPO, "env": environment}
    for words in (["compileall", "-q", "vagrant", "bench", "rootfs"], ["pytest", "--collect-only", "-q"]):
        subprocess.run([sys.executable, "-m", *words], check=False, **quiet)  # type: ignore[call-overload]


def parse(text: str) -> list[Result]:
    """What ``reporting.py`` wrote; a last line that was cut off is left out."""
    results = []
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            results.append(Result(**json.loads(line)))
    return results


def unparse(results: Iterable[Result]) -> str:
    """The text that ``parse`` reads."""
    return "".join(json.dumps(asdict(result)) + "\n" for result in results)


def known(path: Path) -> list[Result]:
    """What earlier runs left in a file; nothing without one."""
    return parse(path.read_text()) if path.is_file() else []


def failed(results: Iterable[Result]) -> list[str]:
    """The tests that failed."""
    return [result.test for result in results if result.outcome == "failed"]


def done(results: Iterable[Result]) -> list[str]:
    """The tests that passed, or said why they do not run."""
    return [result.test for result in results if result.outcome != "failed"]


def merged(earlier: Sequence[Result], later: Sequence[Result]) -> list[Result]:
    """The last result of each test."""
    return list({result.test: result for result in (*earlier, *later)}.values())


def summary(results: Sequence[Result], started: float, ended: float) -> Iterator[str]:
    """Counts by directory, reasons of what was skipped, names of what failed. ``started``, ``ended``: the machine's
    start and the end of the run, as ``Result.at``."""
    first = min((result.at - result.seconds for result in results), default=ended)
    yield f"first test after {first - started:.0f} s, all after {ended - started:.0f} s"
    yield from counts(results)
    yield from _reasons(result for result in results if result.outcome == "skipped")
    for path, reason in NOT_IN_THE_MACHINE.items():
        yield f"not in the machine: {path}: {reason}"
    slowest = sorted(results, key=lambda result: -result.seconds)[:5]
    yield "slowest: " + ", ".join(f"{r.test.rpartition('/')[2][:80]} {r.seconds:.0f} s" for r in slowest)
    for result in results:
        if result.outcome == "failed":
            yield f"failed: {result.test}"


def counts(results: Iterable[Result]) -> Iterator[str]:
    """How many passed, were skipped and failed, by directory and in all."""
    table: dict[str, Counter[str]] = {}
    for result in results:
        counts = table.setdefault(_directory(result.test), Counter())
        counts[result.outcome] += 1
    table["all"] = sum(table.values(), Counter())
    for directory, counts in sorted(table.items(), key=lambda row: (row[0] == "all", row[0])):
        told = [f"{counts[outcome]} {outcome}" for outcome in ("passed", "skipped", "failed") if counts[outcome]]
        yield f"{directory:<24}{', '.join(told) or 'nothing ran'}"


def _directory(test: str) -> str:
    """``tests/unit/model/test_x.py::test_y`` → ``tests/unit/model``; a file directly in ``tests`` is one itself."""
    parts = test.partition("::")[0].split("/")
    return "/".join(parts[: min(3, len(parts) - 1)]) if len(parts) > 2 else "/".join(parts)


def _reasons(skipped: Iterable[Result]) -> Iterator[str]:
    places: dict[str, Counter[str]] = {}
    for result in skipped:
        places.setdefault(" ".join(result.reason.split()), Counter())[result.test.partition("::")[0]] += 1
    for reason, files in sorted(places.items()):
        where = ", ".join(f"{count} in {file}" for file, count in sorted(files.items()))
        yield f"skipped: {reason[:_SKIPPED_WIDTH]}: {where}"
