"""What a run cost is told by folder, and every folder has a budget in CONTRIBUTING.md."""

from pathlib import Path

import pytest

from tests.budget import BUDGETS, budgets, table

TESTS = Path(__file__).resolve().parents[1]


def report(test: str, seconds: float) -> pytest.TestReport:
    return pytest.TestReport(test, ("", 0, ""), {}, "passed", None, "call", duration=seconds)


def test_costs_are_added_up_by_folder_beside_their_budget() -> None:
    reports = [report("tests/unit/a/test_x.py::test_1", 2.0), report("tests/e2e/test_y.py::test_2", 4.0)]
    reports += [report("tests/unit/test_z.py::test_3", 1.5), report("tests/unit/test_z.py::test_3", 2.5)]
    lines = [" ".join(line.split()) for line in table(reports, {"tests/unit": 5, "tests/e2e": 9})]
    assert lines[1:4] == ["tests/e2e 1 4.0 9", "tests/unit 2 6.0 5 over its budget", "all 3 10.0 14"]
    assert lines[-3:-1] == ["4.0 s tests/e2e/test_y.py::test_2", "4.0 s tests/unit/test_z.py::test_3"]


def test_every_folder_of_tests_has_a_budget() -> None:
    folders = {f"tests/{path.relative_to(TESTS).parts[0]}" for path in TESTS.rglob("test_*.py")}
    assert set(budgets(BUDGETS.read_text())) == folders
