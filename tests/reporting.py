"""What the end of a run says beyond pytest's own words: the seconds of each folder, and that CI skips nothing."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import PurePosixPath
from typing import Final

import pytest

# What a checkout elsewhere may lack; a skip for it names it.
_MAY_BE_ABSENT: Final = ("../shared", "the history of the repository")

_FOLDERS: Final = ("fast", "integration", "hosts", "e2e")


class RunReport:
    """Listens to the results of all tests, from every worker."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of one test."""
        self._seconds[_folder_of(report.nodeid)] += report.duration
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note_skip(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Add a module that was skipped as a whole."""
        if report.skipped:
            self._note_skip(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run of CI in which anything was skipped."""
        if self._fails_for_skips() and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the lines."""
        if self._fails_for_skips():
            terminalreporter.section("CI skips nothing", red=True)
            for line in self._skipped:
                terminalreporter.line(line)
        total = sum(self._seconds.values())
        if total:
            shares = (
                f"{folder} {seconds:.1f} s ({seconds / total:.0%})"
                for folder, seconds in sorted(self._seconds.items(), key=lambda item: -item[1])
            )
            terminalreporter.line(f"Seconds by folder: {', '.join(shares)}")

    def _note_skip(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(absent in reason for absent in _MAY_BE_ABSENT):
            self._skipped.append(f"{report.nodeid}: {reason}")

    def _fails_for_skips(self) -> bool:
        return bool(self._skipped and os.environ.get("CI"))


def _folder_of(node_id: str) -> str:
    parts = PurePosixPath(node_id.split("::", maxsplit=1)[0]).parts
    return next((folder for folder in _FOLDERS if folder in parts), "other")


def pytest_configure(config: pytest.Config) -> None:
    """Report where the results of all workers come together."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(RunReport(), "run-report")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its folder, so that ``-m`` selects by it."""
    for item in items:
        folder = _folder_of(item.nodeid)
        if folder in _FOLDERS:
            item.add_marker(getattr(pytest.mark, folder))
