"""The kill switch is read from annotation and spec alone, and reading it never fails."""

from typing import Any

import pytest

from serin.api.fields import InvalidSpec
from serin.api.kill_switch import FallbackService, FixedAnswer, KillSwitch, read_fallback, read_kill_switch
from serin.api.names import ANNOTATION_KILL_SWITCH

OFF, CANDIDATE, ALL = KillSwitch


@pytest.mark.parametrize(
    ("annotation", "spec", "level"),
    [
        (None, None, OFF),
        (None, "Off", OFF),
        (None, "Candidate", CANDIDATE),
        ("All", "Off", ALL),
        ("all ", None, ALL),
        ("candidate", "All", ALL),
        ("All", "Candidate", ALL),
        ("off", "Candidate", CANDIDATE),
        ("false", None, OFF),
        ("true", None, CANDIDATE),
        ("", None, CANDIDATE),
        (7, {"what": "ever"}, OFF),
    ],
)
def test_the_stricter_wins(annotation: Any, spec: Any, level: KillSwitch) -> None:
    annotations = {} if annotation is None else {ANNOTATION_KILL_SWITCH: annotation}
    assert read_kill_switch(annotations, {} if spec is None else {"killSwitch": spec}).level is level


def test_it_says_who_says_so_and_what_to_write_instead() -> None:
    assert read_kill_switch({}, {"killSwitch": "All"}).by == "spec.killSwitch"
    unknown = read_kill_switch({ANNOTATION_KILL_SWITCH: "everything" * 50}, {}).by
    assert unknown.endswith("which is taken for Candidate: write Off, Candidate or All")
    assert len(unknown) < 200


def test_what_answers_instead() -> None:
    answer = {"status": 200, "contentType": "application/json", "body": "{}"}
    assert read_fallback({"fallback": {"answer": answer}}, "fraud") == FixedAnswer(200, "application/json", "{}")
    service = {"name": "rules", "port": 80}
    assert read_fallback({"fallback": {"service": service}}, "fraud") == FallbackService("rules", 80)
    assert read_fallback({}, "fraud") is None


@pytest.mark.parametrize(
    "fallback",
    [
        {"service": {"name": "fraud", "port": 80}},
        {"service": {"port": 80}},
        {"service": {"name": "rules", "port": 80}, "answer": {"status": 200, "contentType": "a/b", "body": ""}},
        {"answer": {"status": 200}},
        {"else": {}},
    ],
)
def test_what_cannot_answer_is_refused(fallback: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.fallback"):
        read_fallback({"fallback": fallback}, "fraud")
