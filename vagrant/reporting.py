"""A pytest plugin for the suite in the machine (``-p vagrant.reporting``): writes what became of each test, as it does.

One JSON object a line, so that a run that is cut short leaves what it found: ``{"test", "outcome", "reason", "seconds",
"at"}``, ``at`` in seconds since the epoch. ``suite.py`` reads it on the host.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import IO

import pytest

from vagrant.suite import DONE, RESULTS

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]


class Reporter:
    """Only a test's worst phase counts: it passed when set-up, call and tear-down did."""

    def __init__(self, file: IO[str], terminal: pytest.TerminalReporter | None) -> None:
        self._file = file
        self._terminal = terminal
        self._seconds: dict[str, float] = {}
        self._told: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if report.nodeid in self._told or (report.passed and report.when != "teardown"):
            return
        self._told.add(report.nodeid)
        self._tell(report.nodeid, report.outcome, _reason(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell(report.nodeid, "failed", str(report.longrepr))
        elif report.skipped:
            self._tell(report.nodeid, "skipped", _reason(report))

    def _tell(self, test: str, outcome: str, reason: str) -> None:
        seconds = round(self._seconds.get(test, 0.0), 2)
        test = _alone(test)
        if outcome == "failed" and self._terminal is not None:
            self._terminal.write_line("\n".join([f"\nfailed: {test}", *reason.splitlines()[-3:]]))
        row = {"test": test, "outcome": outcome, "reason": reason, "seconds": seconds, "at": time.time()}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()


def _alone(test: str) -> str:
    """The name as it is in a run alone: pytest-xdist adds ``@`` and the test's group."""
    return re.sub(r"@[\w-]+$", "", test)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped; of one that failed, its last words."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return "" if report.longrepr is None else str(report.longrepr)[-4000:]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what earlier runs have done."""
    known = config.rootpath / DONE
    done = frozenset(known.read_text().splitlines()) if known.is_file() else frozenset[str]()
    if done:
        config.hook.pytest_deselected(items=[item for item in items if _alone(item.nodeid) in done])
        items[:] = [item for item in items if _alone(item.nodeid) not in done]


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """The workers' reports all come by the controller: it writes. So does a run that makes no namespaces of its own."""
    is_inside = os.environ.get("NSRUN_TEST_WORLD") or config.getoption("noconftest")
    if "PYTEST_XDIST_WORKER" not in os.environ and is_inside:
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        file = open(config.rootpath / RESULTS, "a")  # noqa: SIM115 the process's end closes it
        config.pluginmanager.register(Reporter(file, terminal), "nsrun-reporter")
