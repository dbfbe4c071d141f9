"""The first difference between an answer and what is expected, in words; nothing that a pod answers breaks it."""

import json
import time
from typing import Any

import pytest

from serin.api.integrity import GoldenProbe
from serin.evaluation.golden import LONGEST_ANSWER, difference, fingerprint

EXPECTED = {"outputs": [{"name": "p", "shape": [1, 3], "data": [0.1, 0.2, 0.12]}]}


def compare(answer: bytes | Any, expected: Any = EXPECTED, tolerance: float = 0.01) -> str:
    probe = GoldenProbe("known", "/predict", "{}", json.dumps(expected), tolerance, 10.0)
    return difference(probe, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


def answering(*data: Any, **more: Any) -> dict[str, Any]:
    return {"id": "7", "outputs": [{"name": "p", "shape": [1, 3], "data": list(data), **more}]}


def test_what_is_expected_within_the_tolerance_is_right_whatever_else_is_there() -> None:
    assert compare(answering(0.1, 0.205, 0.115, datatype="FP32")) == ""


def test_the_first_difference_is_named() -> None:
    assert compare(answering(0.1, 0.2, 0.93)) == "outputs[0].data[2] is 0.93, expected 0.12 within 0.01"


def test_a_right_answer_has_a_fingerprint_however_large_its_numbers_are() -> None:
    large = f"1{'0' * 400}"
    probe = GoldenProbe("known", "/predict", "{}", large, 0.0, 10.0)
    assert difference(probe, large.encode()) == ""
    other = GoldenProbe("known", "/predict", "{}", "1.0", 0.0, 10.0)
    assert fingerprint([(probe, large.encode())]) != fingerprint([(other, b"1.0")])


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        ({"outputs": []}, EXPECTED, "outputs has 0 entries, expected 1"),
        ({"error": "x"}, EXPECTED, "outputs is missing, expected a list of 1"),
        (answering(0.1, 0.2), EXPECTED, "outputs[0].data has 2 entries, expected 3"),
        (answering(0.1, 0.2, 0.12, 0.5), EXPECTED, "outputs[0].data has 4 entries, expected 3"),
        (answering(0.1, "0.2", 0.12), EXPECTED, 'outputs[0].data[1] is "0.2", expected 0.2'),
        ({"fraud": 1}, {"fraud": True}, "fraud is 1, expected true"),
        ({"fraud": True}, {"fraud": 1}, "fraud is true, expected 1"),
        ({"fraud": None}, {"fraud": 0}, "fraud is null, expected 0"),
        ({"label": "ham"}, {"label": "spam"}, 'label is "ham", expected "spam"'),
        ([1], {"y": 1}, "the answer is a list of 1, expected a map"),
        (0.5, 0.4, "the answer is 0.5, expected 0.4 within 0.01"),
        (b'{"y": NaN}', {"y": 1.0}, "y is NaN, expected 1.0 within 0.01"),
        (b'{"y": 1e999}', {"y": 1.0}, "y is Infinity, expected 1.0 within 0.01"),
        (b'{"y": 1' + b"0" * 400 + b"}", {"y": 1.0}, "y is 1" + "0" * 58 + "…, expected 1.0 within 0.01"),
        (b"<html>", EXPECTED, 'the answer is no JSON: "<html>"'),
        (b"", EXPECTED, 'the answer is no JSON: ""'),
    ],
)
def test_every_difference_says_where_and_what(answer: Any, expected: Any, said: str) -> None:
    assert compare(answer, expected) == said


@pytest.mark.parametrize(
    ("answer", "expected"),
    [({"n": 3}, {"n": 3.0}), ({"n": 3.0}, {"n": 3}), ({"n": 10**400}, {"n": 10**400}), ([], []), ({}, {})],
)
def test_how_a_number_is_written_does_not_matter(answer: Any, expected: Any) -> None:
    assert compare(answer, expected, tolerance=0.0) == ""


def test_a_number_may_be_off_by_just_the_tolerance() -> None:
    assert compare({"n": 0.75}, {"n": 0.5}, 0.25) == ""
    assert compare({"n": 0.8}, {"n": 0.5}, 0.25) == "n is 0.8, expected 0.5 within 0.25"


def test_a_long_name_does_not_fill_a_message() -> None:
    assert len(compare({}, {"x" * 5000: 1})) < 200


def test_without_a_tolerance_a_number_has_to_be_the_same() -> None:
    assert compare({"n": 0.30000000000000004}, {"n": 0.3}, 0.0) == "n is 0.30000000000000004, expected 0.3"


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * LONGEST_ANSWER,
        b'{"a":' * (LONGEST_ANSWER // 5),
        b"[" * 100_000 + b"]" * 100_000,
        b"9" * LONGEST_ANSWER,
        b"[" + b"[]," * 87_000 + b"[]]",
        b"\xff\xfe" * 1000,
        b'{"outputs": "' + b"x" * 200_000 + b'"}',
        b'{"outputs": [' + b"1," * 100_000 + b"1]}",
    ],
)
def test_no_answer_costs_more_than_a_moment_or_fills_a_message(answer: bytes) -> None:
    began = time.process_time()
    said = compare(answer)
    assert said
    assert len(said) < 400
    assert time.process_time() - began < 5.0  # some tenths where nothing else runs


def test_an_answer_that_is_too_long_is_not_read() -> None:
    assert compare(b" " * (LONGEST_ANSWER + 1)) == "the answer is longer than 256 KiB"
