"""What a run cost: seconds per folder beside their budget, and the slowest tests. Printed at the end with --budget.

A run that costs more is no failure: a machine may be slow or busy. Whoever reads it sees which folder has grown, and
by which test. The budgets are the table in CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

BUDGETS = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
SLOWEST = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budget", action="store_true", help="print seconds per folder, and the slowest tests")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print both tables before the closing line."""
    if config.getoption("budget"):
        reports = [
            one for kind in terminalreporter.stats.values() for one in kind if isinstance(one, pytest.TestReport)
        ]
        terminalreporter.section("what it cost")
        for line in table(reports, budgets(BUDGETS.read_text())):
            terminalreporter.write_line(line)


def budgets(text: str) -> dict[str, int]:
    """Read seconds by folder from the table in a page."""
    return {folder: int(seconds) for folder, seconds in re.findall(r"^\| `(tests/\w+)` \| (\d+) s \|", text, re.M)}


def table(reports: list[pytest.TestReport], allowed: dict[str, int]) -> list[str]:
    """Add up set-up, call and tear-down of every test, by folder."""
    seconds: dict[str, float] = defaultdict(float)
    for report in reports:
        seconds[report.nodeid] += report.duration
    folders: dict[str, list[float]] = defaultdict(list)
    for test, took in seconds.items():
        folders["/".join(test.partition("::")[0].split("/")[:2])].append(took)
    lines = [f"{'folder':<20} {'tests':>6} {'seconds':>8} {'budget':>7}"]
    for folder, all_of_it in sorted(folders.items()):
        limit = allowed.get(folder)
        over = "  over its budget" if limit is not None and sum(all_of_it) > limit else ""
        lines.append(f"{folder:<20} {len(all_of_it):>6} {sum(all_of_it):>8.1f} {limit or '-':>7}{over}")
    lines.append(f"{'all':<20} {len(seconds):>6} {sum(seconds.values()):>8.1f} {sum(allowed.values()) or '-':>7}")
    lines += ["", f"the {SLOWEST} slowest tests, set-up and tear-down included"]
    slowest = sorted(seconds.items(), key=lambda one: -one[1])[:SLOWEST]
    return [*lines, *(f"{took:>8.1f} s  {test}" for test, took in slowest)]
