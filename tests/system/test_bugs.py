"""The stories are worth something: each bug that is put into the operator is found by one of them.

Each runs in a process of its own, which takes a few seconds: the operator has to be loaded anew, with the bug in it.
"""

import os
import subprocess
import sys

import pytest

from tests.crds import ROOT
from tests.system.bugs import BUGS


@pytest.mark.parametrize("name", [bug.name for bug in BUGS])
def test_a_bug_is_found(name: str) -> None:
    command = [sys.executable, "-m", "tests.system.bugs", name]
    # Looks of one moment come in the order of a set. Elsewhere each order is tried; here a bug is found for sure.
    repeated = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=repeated, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-4000:]}"


def test_there_are_enough_bugs() -> None:
    assert len({bug.name for bug in BUGS}) >= 40
