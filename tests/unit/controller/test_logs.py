"""Logs: a traceback is there, and nothing in it that a local variable held."""

import json
import subprocess
import sys

import pytest

from serin.controller.logs import Format

SECRET = "hunter2-do-not-print"
# In a process of its own: what is configured is the logging of the whole process.
PROGRAM = """
import logging, sys
import structlog
from serin.controller import logs

logs.configure(logs.Format(sys.argv[1]), "info")

def ask(password):
    headers = {"Authorization": "Bearer " + password}
    try:
        raise KeyError("the cause")
    except KeyError as cause:
        raise ExceptionGroup("some", [ValueError("the words")]) from cause

try:
    ask(sys.argv[2])
except Exception:
    structlog.get_logger("serin.test").exception("look.failed")
    logging.getLogger("kopf.test").exception("kopf failed")
"""


@pytest.mark.parametrize("form", list(Format))
def test_a_traceback_says_where_but_prints_no_local_variable(form: Format) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, form.value, SECRET], capture_output=True, text=True, check=True
    )
    for logger in ("look.failed", "kopf failed"):
        assert logger in run.stderr
    for part in ("the words", "the cause", "ask"):
        assert run.stderr.count(part) >= 2, f"{part} is missing in {run.stderr}"
    assert SECRET not in run.stderr


def test_a_traceback_in_json_is_one_line_with_frames() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, Format.JSON.value, SECRET], capture_output=True, text=True, check=True
    )
    for line in run.stderr.splitlines():
        [failure, *_] = json.loads(line)["exception"]
        assert "ask" in [frame["name"] for frame in failure["frames"]]
        assert "locals" not in failure["frames"][0] or failure["frames"][0]["locals"] is None
