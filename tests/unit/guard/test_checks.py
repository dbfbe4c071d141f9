"""Answers of models, good and bad, in each of the layouts."""

import time
from typing import Any

import pytest

from serin.api.guard import Check, OutputGuard, Protocol
from serin.guard.budget import MOST_VALUES, Unchecked
from serin.guard.checks import problem

FINITE = Check("score", finite=True)
RANGE = Check("score", minimum=0.0, maximum=1.0)
LABELS = Check("label", labels=frozenset({"legit", "fraud"}))
SHAPE = Check("score", shape=(-1, 2))
BOTH = Check("score", shape=(-1, 2), maximum=1.0)
SUM = Check("score", sums_to_one=True)


TOPICS = Check("choices[].message.content", labels=frozenset({"sport", "politics"}))


def chat(*contents: Any) -> dict[str, Any]:
    choices = [{"message": {"role": "assistant", "content": one}, "finish_reason": "stop"} for one in contents]
    return {"object": "chat.completion", "choices": choices, "usage": {"total_tokens": 7}}


def v2(name: str, data: Any, *shape: int) -> dict[str, Any]:
    return {"model_name": "m", "outputs": [{"name": name, "datatype": "FP32", "shape": list(shape), "data": data}]}


def wrong(answer: Any, *checks: Check, protocol: Protocol = Protocol.OPEN_INFERENCE) -> str:
    return problem(answer, OutputGuard(protocol, checks))


@pytest.mark.parametrize(
    ("answer", "check", "said"),
    [
        (v2("score", [0.5], 1), FINITE, ""),
        (v2("score", [1, 2.5, -3], 3), FINITE, ""),
        (v2("score", [0.5, None], 2), FINITE, "score: there is null where a number belongs"),
        (v2("score", ["NaN"], 1), FINITE, "score: it is no number"),
        (v2("score", [True], 1), FINITE, "score: it is no number"),
        (v2("score", [[0.5], [None]], 2, 1), FINITE, "score: there is null where a number belongs"),
        (v2("other", [0.5], 1), FINITE, "score: it is not in the answer"),
        (v2("score", [], 0), FINITE, "score: it is not in the answer"),
        (v2("score", [[]], 1, 0), FINITE, "score: a list is empty"),
        (v2("score", [0.0, 1.0], 2), RANGE, ""),
        (v2("score", [0.5, -0.001], 2), RANGE, "score: a number is less than 0"),
        (v2("score", [[0.5], [1.001]], 2, 1), RANGE, "score: a number is more than 1"),
        (v2("score", [None], 1), RANGE, "score: there is null where a number belongs"),
        (v2("label", ["fraud", "legit"], 2), LABELS, ""),
        (v2("label", ["fraud", "Fraud"], 2), LABELS, "label: it is none of the labels"),
        (v2("label", [1], 1), LABELS, "label: it is none of the labels"),
        (v2("score", [0.2, 0.8, 0.995, 0.01], 2, 2), SUM, ""),
        (v2("score", [0.2, 0.8, 0.9, 0.2], 2, 2), SUM, "score: the numbers do not add up to 1"),
        (v2("score", [[0.2, 0.8], [0.9, 0.2]], 2, 2), SUM, "score: the numbers do not add up to 1"),
        (v2("score", [0.2, 0.8], 2), SUM, ""),
        (v2("score", [0.2, 0.8, 0.5, 0.5], 2, 2), SHAPE, ""),
        (v2("score", [["a", "b"]], 1, 2), SHAPE, ""),
        (v2("score", [], 0, 2), SHAPE, ""),
        (v2("score", [0.2, 0.8], 2), SHAPE, "score: its shape is not [-1, 2]"),
        (v2("score", [0.2, 0.8], 2, 1), SHAPE, "score: its shape is not [-1, 2]"),
        (v2("score", [0.2, 0.8, 0.5], 2, 2), SHAPE, "score: it has not as many values as its shape says"),
        (v2("score", [0.2, 0.8], -1, 2), SHAPE, "score: it has no valid shape"),
        (v2("other", [0.2, 0.8], 1, 2), SHAPE, "score: it is not in the answer"),
        (v2("score", [0.2, 1.8], 1, 2), BOTH, "score: a number is more than 1"),
        (v2("score", [0.2, 0.8], 2), BOTH, "score: its shape is not [-1, 2]"),
        ({"error": "no"}, SHAPE, "the answer has no list of outputs"),
        ({"outputs": [{"name": "score", "data": [1, 2]}]}, SHAPE, "score: it has no valid shape"),
        ({"outputs": [{"name": "score", "shape": [1, 2]}]}, SHAPE, "score: it is not in the answer"),
        ({"error": "no"}, FINITE, "the answer has no list of outputs"),
        ([], FINITE, "the answer has no list of outputs"),
        ({"outputs": [1]}, FINITE, "one of the outputs has no name"),
        ({"outputs": [{"name": ["a"]}]}, FINITE, "one of the outputs has no name"),
        ({"outputs": [{"name": "score"}]}, FINITE, "score: it is not in the answer"),
        ({"outputs": [{"name": "score", "data": [0.5], "shape": [1, 0]}]}, FINITE, ""),
        ({"outputs": [{"name": "score", "data": 0.5, "shape": [1, 1]}]}, FINITE, ""),
    ],
)
def test_open_inference(answer: Any, check: Check, said: str) -> None:
    assert wrong(answer, check) == said


@pytest.mark.parametrize(
    ("answer", "check", "said"),
    [
        ({"predictions": [0.1, 0.9]}, Check("[]", maximum=1.0), ""),
        ({"predictions": [0.1, 1.9]}, Check("[]", maximum=1.0), "[]: a number is more than 1"),
        (
            {"predictions": [{"p": 0.1, "l": "a"}, {"p": 2, "l": "a"}]},
            Check("[].p", maximum=1.0),
            "[].p: a number is more than 1",
        ),
        ({"predictions": [{"p": [0.5, 0.4]}]}, Check("[].p", sums_to_one=True), "[].p: the numbers do not add up to 1"),
        ({"predictions": 1}, Check("[]", finite=True), "the answer has no list of predictions"),
    ],
)
def test_kserve_v1(answer: Any, check: Check, said: str) -> None:
    assert wrong(answer, check, protocol=Protocol.KSERVE_V1) == said


@pytest.mark.parametrize(
    ("answer", "check", "said"),
    [
        (chat("sport"), TOPICS, ""),
        (chat("sport", "war"), TOPICS, "choices[].message.content: it is none of the labels"),
        (chat(None), TOPICS, "choices[].message.content: it is not in the answer"),
        (chat("sport"), Check("usage.total_tokens", maximum=8.0), ""),
        (chat("sport"), Check("usage.total_tokens", maximum=6.0), "usage.total_tokens: a number is more than 6"),
        (chat(), Check("usage.total_tokens", finite=True), "the answer has no choices"),
        ({"error": {"code": 500}}, TOPICS, "the answer has no list of choices"),
        ([], TOPICS, "the answer has no list of choices"),
    ],
)
def test_open_ai(answer: Any, check: Check, said: str) -> None:
    assert wrong(answer, check, protocol=Protocol.OPEN_AI) == said


@pytest.mark.parametrize(
    ("answer", "check", "said"),
    [
        ({"result": {"score": 0.4}}, Check("result.score", minimum=0.0), ""),
        ({"result": {"score": None}}, Check("result.score", minimum=0.0), "result.score: it is not in the answer"),
        ({"a": {"b": 1, "c": {"d": 7}}}, Check("a", maximum=5.0), "a: a number is more than 5"),
        (7, Check("a", maximum=5.0), "a: it is not in the answer"),
        (None, Check("a", maximum=5.0), "a: it is not in the answer"),
    ],
)
def test_any_json(answer: Any, check: Check, said: str) -> None:
    assert wrong(answer, check, protocol=Protocol.JSON) == said


def test_the_first_problem_is_told_and_no_value_of_the_answer() -> None:
    answer = v2("score", [12345.678], 1)
    assert wrong(answer, FINITE, RANGE, LABELS) == "score: a number is more than 1"


@pytest.mark.parametrize(
    "data",
    [
        [0.5] * (MOST_VALUES + 1),
        [[0.5]] * (MOST_VALUES // 2),
        [[[1]]] * (MOST_VALUES // 2),
        [{"a": {"b": [1]}}] * (MOST_VALUES // 3),
    ],
)
def test_an_answer_costs_no_more_than_a_moment(data: Any) -> None:
    begun = time.process_time()
    with pytest.raises(Unchecked, match="more than 200000 values"):
        wrong(v2("score", data, len(data)), *[FINITE] * 10)
    assert time.process_time() - begun < 5.0  # a tenth of a second where nothing else runs


@pytest.mark.parametrize("path", ["[].rare", "[][][].rare", "*.*.rare"])
def test_nor_does_a_path_that_leaves_nearly_all_of_it_out_again(path: str) -> None:
    """Each check looks at every value to find the one; what is found is little."""
    data = [{"rare": 0.5}, *[{"other": {"x": 1}}] * (MOST_VALUES // 3)]
    check = Check(path if path.startswith("*") else f"score{path}", maximum=1.0)
    begun = time.process_time()
    with pytest.raises(Unchecked, match="more than 200000 values"):
        wrong(
            {"score": data, "others": {str(n): {"x": {}} for n in range(MOST_VALUES)}},
            *[check] * 40,
            protocol=Protocol.JSON,
        )
    assert time.process_time() - begun < 5.0


def test_many_labels_cost_no_more_than_few() -> None:
    labels = [f"{n:04}" for n in range(1_000)]
    check = Check("label", labels=frozenset(labels))
    begun = time.process_time()
    assert wrong(v2("label", [labels[-1]] * (MOST_VALUES - 10), MOST_VALUES), check) == ""
    assert time.process_time() - begun < 5.0


def test_deep_answers_need_no_stack() -> None:
    data: Any = [0.5]
    for _ in range(5_000):
        data = [data]
    assert wrong(v2("score", data, 1), FINITE) == ""
