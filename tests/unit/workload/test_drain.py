"""How a serving container ends: the drain comes first, and the template's own wishes stay."""

import subprocess
from typing import Any

import pytest

from serin.api.json import JsonObject
from serin.workload.drain import can_drain, grace_period, lifecycle

_DRAIN = {"sleep": {"seconds": 5}}
_SCRIPT = ["/bin/sh", "-c", "nginx -s quit; sleep 3"]


@pytest.mark.parametrize(
    ("given", "hook"),
    [
        (None, _DRAIN),
        ({"postStart": {"exec": {"command": ["warm"]}}}, _DRAIN),
        ({"stopSignal": "SIGINT"}, _DRAIN),
        ({"preStop": {}}, _DRAIN),
        ({"preStop": {"sleep": {"seconds": 1}}}, _DRAIN),
        ({"preStop": {"sleep": {"seconds": 20}}}, {"sleep": {"seconds": 20}}),
        ({"preStop": {"exec": {"command": ["sleep", "3"]}}}, _DRAIN),
        ({"preStop": {"exec": {"command": ["/bin/sleep", "15s"]}}}, {"exec": {"command": ["/bin/sleep", "15s"]}}),
        (
            {"preStop": {"exec": {"command": _SCRIPT}}},
            {"exec": {"command": ["/bin/sh", "-c", 'sleep 5; exec "$@"', "/bin/sh", *_SCRIPT]}},
        ),
        (
            {"preStop": {"exec": {"command": ["bash", "/stop.sh", "now"]}}},
            {"exec": {"command": ["bash", "-c", 'sleep 5; exec "$@"', "bash", "bash", "/stop.sh", "now"]}},
        ),
    ],
)
def test_the_drain_comes_before_what_the_template_does(given: JsonObject | None, hook: JsonObject) -> None:
    assert can_drain(given)
    assert lifecycle(given) == {**(given or {}), "preStop": hook}


@pytest.mark.parametrize(
    "hook",
    [
        {"httpGet": {"path": "/drain", "port": 8080}},
        {"tcpSocket": {"port": 8080}},
        {"exec": {"command": ["/usr/bin/unload", "--all"]}},
        {"exec": {"command": ["sh"]}},
        {"exec": {"command": ["sleep", "long"]}},
        {"exec": {"command": "sleep 5"}},
        {"exec": {}},
    ],
)
def test_what_cannot_be_put_behind_a_wait_stays_alone(hook: JsonObject) -> None:
    assert not can_drain({"preStop": hook})
    assert lifecycle({"preStop": hook}) == {"preStop": hook}


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, 35), (3, 8), (0, 5), (3600, 3605), (-1, -1), ("3", "3"), (True, True)]
)
def test_the_grace_period_is_what_is_left_after_the_drain(given: Any, seconds: Any) -> None:
    assert grace_period(given) == seconds


def test_a_script_runs_after_the_wait_with_its_own_arguments() -> None:
    """By a real shell: what it is given arrives as it was written."""
    script = ["/bin/sh", "-c", 'printf "%s|" "$0" "$@"', "zero", "a b", "$HOME", "'q'"]
    made = lifecycle({"preStop": {"exec": {"command": script}}})["preStop"]["exec"]["command"]
    made[2] = made[2].replace("sleep 5", "sleep 0")
    assert subprocess.run(made, capture_output=True, text=True, check=True).stdout == "zero|a b|$HOME|'q'|"
