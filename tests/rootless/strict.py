"""The table of differences at work: a pytest plugin of the suite that an unprivileged user runs."""

from __future__ import annotations

import re
from collections.abc import Generator

import pytest
from pluggy import Result

from tests.rootless.differences import Difference, difference_of, same_of, unmatched

__all__ = ["Strict"]

DIFFERENCE = pytest.StashKey[Difference | None]()
SHOWN = pytest.StashKey[bool]()


class Strict:
    """A listed test that fails as listed counts as skipped, for the listed reason; else it fails."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if not any("::" in argument for argument in config.args) and not config.getoption("lf", False):
            idle = unmatched(item.nodeid for item in items)
            if idle:
                raise pytest.UsageError(f"tests/rootless/differences.py names tests that are not there: {idle}")
        for item in items:
            item.stash[DIFFERENCE] = difference_of(item.nodeid)  # pytest-xdist adds the group to it
            same = same_of(item.nodeid)
            if same is not None:
                item.add_marker(pytest.mark.skip(reason=f"the same for every user: {same.reason}"))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Result[pytest.TestReport], None]:
        outcome = yield
        difference = item.stash[DIFFERENCE]
        if difference is None:
            return
        report = outcome.get_result()
        if report.failed:
            _judge(item, report, difference)
        elif report.skipped:
            item.stash[SHOWN] = True
        elif report.when == "teardown" and not item.stash.get(SHOWN, False):
            report.outcome = "failed"
            report.longrepr = f"tests/rootless/differences.py lists it, and it passes: {item.nodeid}"


def _judge(item: pytest.Item, report: pytest.TestReport, difference: Difference) -> None:
    if re.search(difference.symptom, f"{report.longreprtext}\n{report.caplog}\n{report.capstderr}"):
        item.stash[SHOWN] = True
        path, line, _ = item.location
        reason = f"Skipped: {difference.rule} ({difference.reference})"
        report.outcome, report.longrepr = "skipped", (path, (line or 0) + 1, reason)
