"""What a validation's Job may say: only an answer refuses, and everything else is said in words."""

import pytest

from serin.api.state import ManualRollback, State
from serin.api.status import read_state, write_state
from serin.api.validation import LONGEST_TEXT, NoAnswer, Validation, read_answer
from tests import crds


@pytest.mark.parametrize(
    ("said", "accepted", "why"),
    [
        ('{"target": 0.93, "present": 0.81}', True, "target 0.93, present 0.81"),
        ('{"target": 0.8, "present": 0.8}', True, "target 0.8, present 0.8"),
        ('{"target": 0.8, "present": 0.81, "message": "AUC"}', False, "target 0.8, present 0.81: AUC"),
        ('{"target": 3, "present": 2, "better": "Lower"}', False, "target 3, present 2, less is better"),
        ('{"target": 2, "present": 3, "better": "Lower"}', True, "target 2, present 3, less is better"),
        ('{"accept": false}', False, "accept is false"),
        ('{"accept": true, "message": "no worse"}', True, "no worse"),
        ('{"accept": false, "target": 1, "present": 0}', False, "accept is false"),
    ],
)
def test_an_answer_accepts_or_refuses(said: str, accepted: bool, why: str) -> None:
    assert read_answer(said) == (accepted, why)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "it said nothing, and no JSON such as"),
        ("Traceback", 'it said "Traceback", and no JSON'),
        ("[" * 4000, "and no JSON"),
        ("[1]", "and no JSON"),
        ("{}", "there is no number target"),
        ('{"target": 1}', "there is no number present"),
        ('{"target": "1", "present": 1}', "there is no number target"),
        ('{"target": true, "present": 1}', "there is no number target"),
        ('{"target": NaN, "present": 1}', "target is no finite number"),
        ('{"target": 1e999, "present": 1}', "target is no finite number"),
        ('{"target": 1, "present": 1' + "0" * 400 + "}", "present is no finite number"),
        ('{"target": 1, "present": 2, "better": "lower"}', "better is neither Higher nor Lower"),
        ('{"accept": "no"}', "there is no number target"),
    ],
)
def test_anything_else_is_no_answer(said: str, why: str) -> None:
    with pytest.raises(NoAnswer, match=why):
        read_answer(said)


def test_what_a_job_says_at_length_is_cut() -> None:
    assert len(read_answer('{"accept": false, "message": "' + "x" * 9000 + '"}')[1]) == LONGEST_TEXT // 2
    with pytest.raises(NoAnswer) as told:
        read_answer("x" * 4096)
    assert len(str(told.value)) < 150


def test_what_no_text_can_hold_is_left_out_of_a_message() -> None:
    """Half a character cannot be encoded, and a control character is a command to a terminal."""
    said = r'{"accept": false, "message": "\ud800worse\u001b[2J\nby far "}'
    assert read_answer(said) == (False, "worse [2J by far")


def test_what_is_kept_survives_json_within_the_bounds_of_the_schema() -> None:
    one = Validation("fraud-validate-x", 1.0, "Refused", "worse")
    state = State(manual_rollback=ManualRollback("fraud-a", 1.0, validation=one))
    assert read_state(write_state(state)) == state
    status = crds.schema("ModelDeployment")["properties"]["status"]["properties"]
    bounds = {
        status["rollingBack"]["properties"]["validation"]["properties"]["message"]["maxLength"],
        status["lastRollback"]["properties"]["validation"]["maxLength"],
    }
    assert bounds == {LONGEST_TEXT}
