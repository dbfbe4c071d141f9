"""Two answers to the same request, in each of the layouts: what is a difference, and which."""

import contextlib
import json
import random
import time
from typing import Any

import pytest

from serin.api.guard import Protocol
from serin.api.guard_agreement import (
    DIFFERENCES,
    Comparison,
    Order,
    Outcome,
    Pairing,
    is_pairing,
    read_written_pairing,
    write_pairing,
)
from serin.guard.agreement import compare, outcome
from serin.guard.budget import Unchecked

LABEL = Comparison("label")
NEAR = Comparison("score", tolerance=0.01)
SHARE = Comparison("price", relative=0.1)
FIRST = Comparison("items", top=3)
MOST = Comparison("items", top=3, overlap=2 / 3)
CLASS = Comparison("scores", top=1, order=Order.SCORE)
V2, V1, JSON = Protocol.OPEN_INFERENCE, Protocol.KSERVE_V1, Protocol.JSON


def pairing(*how: Comparison, protocol: Protocol = JSON) -> Pairing:
    return Pairing(protocol, how, "shop/fraud", 10_000, "key/new", "old", "new", 1.0)


def v2(name: str, data: Any, *shape: int) -> dict[str, Any]:
    return {"model_name": "m", "outputs": [{"name": name, "datatype": "FP32", "shape": list(shape), "data": data}]}


def said(stable: Any, candidate: Any, *how: Comparison, protocol: Protocol = JSON) -> Outcome:
    return compare(stable, candidate, pairing(*how, protocol=protocol))


@pytest.mark.parametrize(
    ("stable", "candidate", "how", "what"),
    [
        ({"label": "fraud"}, {"label": "fraud", "id": 7}, LABEL, Outcome.SAME),
        ({"label": "fraud"}, {"label": "legit"}, LABEL, Outcome.LABEL),
        ({"label": "fraud"}, {"label": "Fraud"}, LABEL, Outcome.LABEL),
        ({"label": True}, {"label": False}, LABEL, Outcome.LABEL),
        ({"label": True}, {"label": 1}, LABEL, Outcome.TYPE),
        ({"label": "1"}, {"label": 1}, LABEL, Outcome.TYPE),
        ({"label": "1"}, {"label": ["1"]}, LABEL, Outcome.SHAPE),
        ({"label": 1}, {"label": 1.0}, LABEL, Outcome.SAME),
        ({"label": 1}, {"label": 2}, LABEL, Outcome.NUMBER),
        ({"label": "fraud"}, {}, LABEL, Outcome.MISSING),
        ({"label": "fraud"}, {"label": None}, LABEL, Outcome.MISSING),
        ({"label": ["a", None]}, {"label": ["a", None]}, LABEL, Outcome.SAME),
        ({"label": ["a", "b"]}, {"label": ["a", None]}, LABEL, Outcome.TYPE),
        ({"label": ["a", "b"]}, {"label": ["a"]}, LABEL, Outcome.SHAPE),
        ({"label": {"a": 1}}, {"label": {"b": 1}}, LABEL, Outcome.SHAPE),
        ({"label": {"a": 1, "b": "x"}}, {"label": {"b": "x", "a": 1}}, LABEL, Outcome.SAME),
        ({"label": {"a": 1}}, {"label": [1]}, LABEL, Outcome.SHAPE),
        ({"score": 0.5}, {"score": 0.509}, NEAR, Outcome.SAME),
        ({"score": 0.5}, {"score": 0.52}, NEAR, Outcome.NUMBER),
        ({"score": [[0.5], [0.1]]}, {"score": [[0.5], [0.2]]}, NEAR, Outcome.NUMBER),
        ({"score": [0.5, 0.1]}, {"score": [[0.5, 0.1]]}, NEAR, Outcome.SHAPE),
        ({"score": float("nan")}, {"score": 0.5}, NEAR, Outcome.NUMBER),
        ({"score": 0.5}, {"score": float("nan")}, NEAR, Outcome.NUMBER),
        ({"score": float("inf")}, {"score": 1.0}, NEAR, Outcome.NUMBER),
        ({"score": float("inf")}, {"score": float("inf")}, NEAR, Outcome.SAME),
        ({"price": 200_000}, {"price": 181_000.0}, SHARE, Outcome.SAME),
        ({"price": 200_000}, {"price": 179_000.0}, SHARE, Outcome.NUMBER),
        ({"price": -10}, {"price": -11}, SHARE, Outcome.SAME),
        ({"price": 0}, {"price": 0.001}, SHARE, Outcome.NUMBER),
        ({"items": [1, 2, 3, 4]}, {"items": [3, 1, 2, 9, 8]}, FIRST, Outcome.SAME),
        ({"items": [1, 2, 3, 4]}, {"items": [4, 1, 2, 3]}, FIRST, Outcome.TOP),
        ({"items": [1, 2, 3, 4]}, {"items": [4, 1, 2, 3]}, MOST, Outcome.SAME),
        ({"items": [1, 2, 3, 4]}, {"items": [4, 5, 2, 3]}, MOST, Outcome.TOP),
        ({"items": ["a", "b"]}, {"items": ["b", "a"]}, FIRST, Outcome.SAME),
        ({"items": ["a", "b"]}, {"items": ["b"]}, FIRST, Outcome.TOP),
        ({"items": ["a", "a", "b"]}, {"items": ["b", "a", "b"]}, FIRST, Outcome.SAME),
        ({"items": ["a", "b"]}, {"items": "a"}, FIRST, Outcome.SHAPE),
        ({"items": ["a", "b"]}, {"items": ["a", None]}, FIRST, Outcome.TYPE),
        ({"items": [["a"], ["b"]]}, {"items": [["a"], ["c"]]}, FIRST, Outcome.TOP),
        ({"items": [["a"], ["b"]]}, {"items": [["a"]]}, FIRST, Outcome.SHAPE),
        ({"scores": [0.1, 0.7, 0.2]}, {"scores": [0.3, 0.4, 0.3]}, CLASS, Outcome.SAME),
        ({"scores": [0.1, 0.7, 0.2]}, {"scores": [0.5, 0.4, 0.1]}, CLASS, Outcome.TOP),
        ({"scores": [0.1, 0.7, 0.2]}, {"scores": [0.3, 0.3, 0.3]}, CLASS, Outcome.TOP),
        ({"scores": [0.1, 0.7]}, {"scores": ["a", "b"]}, CLASS, Outcome.TYPE),
    ],
)
def test_what_said(stable: Any, candidate: Any, how: Comparison, what: Outcome) -> None:
    assert said(stable, candidate, how) is what


def test_of_every_path_all_must_be_the_same() -> None:
    one, other = {"label": "a", "score": 0.5}, {"label": "a", "score": 0.9}
    assert said(one, other, LABEL) is Outcome.SAME
    assert said(one, other, LABEL, NEAR) is Outcome.NUMBER


def test_twenty_of_which_eleven_are_in_both_are_0_55() -> None:
    how = Comparison("items", top=20, overlap=0.55)
    assert said({"items": [*range(20)]}, {"items": [*range(9, 29)]}, how) is Outcome.SAME
    assert said({"items": [*range(20)]}, {"items": [*range(10, 30)]}, how) is Outcome.TOP


@pytest.mark.parametrize(
    ("stable", "candidate", "what"),
    [
        (v2("scores", [0.1, 0.9, 0.8, 0.2], 2, 2), v2("scores", [[0.3, 0.7], [0.6, 0.4]], 2, 2), Outcome.SAME),
        (v2("scores", [0.1, 0.9, 0.8, 0.2], 2, 2), v2("scores", [0.3, 0.7, 0.4, 0.6], 2, 2), Outcome.TOP),
        (v2("scores", [0.1, 0.9, 0.8, 0.2], 2, 2), v2("scores", [0.3, 0.7], 1, 2), Outcome.SHAPE),
        (v2("scores", [0.1, 0.9], 1, 2), v2("other", [0.3, 0.7], 1, 2), Outcome.MISSING),
        (v2("scores", [0.1, 0.9], 1, 2), {"error": "no"}, Outcome.MISSING),
        (v2("scores", [0.1, 0.9], 1, 2), {"outputs": [7]}, Outcome.MISSING),
    ],
)
def test_open_inference(stable: Any, candidate: Any, what: Outcome) -> None:
    assert said(stable, candidate, CLASS, protocol=V2) is what


def test_kserve_v1() -> None:
    one, other = {"predictions": [{"label": "a"}, {"label": "b"}]}, {"predictions": [{"label": "a"}, {"label": "c"}]}
    assert said(one, other, Comparison("[].label"), protocol=V1) is Outcome.LABEL
    assert said(one, one, Comparison("[].label"), protocol=V1) is Outcome.SAME
    assert said({"predictions": [1, 2]}, {"predictions": [1]}, Comparison("[]"), protocol=V1) is Outcome.SHAPE


def test_open_ai() -> None:
    one, other = ({"choices": [{"text": text}], "id": text} for text in ("a", "b"))
    how = Comparison("choices[].text")
    assert said(one, dict(one), how, protocol=Protocol.OPEN_AI) is Outcome.SAME
    assert said(one, other, how, protocol=Protocol.OPEN_AI) is Outcome.LABEL
    assert said(one, {"error": {}}, how, protocol=Protocol.OPEN_AI) is Outcome.MISSING


def test_nothing_is_known_of_what_cannot_be_ranked() -> None:
    for stable, how in (({"items": "a"}, FIRST), ({"items": [None]}, FIRST), ({"scores": ["a"]}, CLASS)):
        with pytest.raises(Unchecked):
            said(stable, stable, how)


@pytest.mark.parametrize("stable", [{}, {"label": None}, {"label": []}, [], "text", 7])
def test_nothing_is_known_without_an_answer_of_stable(stable: Any) -> None:
    with pytest.raises(Unchecked):
        said(stable, {"label": "a"}, LABEL)


@pytest.mark.parametrize(
    ("stable", "candidate", "what"),
    [
        (b'{"label": "a"}', b'{"label": "a"}', Outcome.SAME),
        (b'{"label": "a"}', b'{"label": NaN}', Outcome.MISSING),
        (b'{"label": "a"}', b"", Outcome.MISSING),
        (b'{"label": "a"}', b"\xff", Outcome.MISSING),
        (b'{"label": "a"}', b"[" * 100_000, Outcome.MISSING),
        (b'{"label": NaN}', b'{"label": NaN}', Outcome.UNREAD),
        (b'{"label": "a"}', b'"' + b"x" * (1024 * 1024) + b'"', Outcome.UNREAD),
        (b'{"score": "a"}', b'{"label": "a"}', Outcome.UNREAD),
    ],
)
def test_bytes(stable: bytes, candidate: bytes, what: Outcome) -> None:
    assert outcome((stable, ""), (candidate, ""), pairing(LABEL)) is what


def test_what_has_too_much_to_look_at_is_not_compared_and_takes_no_time() -> None:
    many = json.dumps({"label": [0] * 400_000}).encode()
    deep = b'{"label":' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    begun = time.process_time()
    assert outcome((many, ""), (many, ""), pairing(LABEL)) is Outcome.UNREAD
    assert outcome((deep, ""), (deep, ""), pairing(LABEL)) is Outcome.SAME
    assert time.process_time() - begun < 5.0


def test_whatever_both_say_there_is_an_outcome() -> None:
    """Random answers of all types, cut and changed: never an error, the same to itself, and the same way every time."""
    draw = random.Random(15)
    paths = ["label", "label.a", "label[0]", "label[].a", "@", "*", "label[*][*]"]

    def value(depth: int) -> Any:
        kind = draw.randrange(9 if depth else 6)
        if kind < 6:
            return draw.choice([None, True, "a", "1", 1, -1.5, 2**63, 1e308, float("inf"), ""])
        if kind < 8:
            return [value(depth - 1) for _ in range(draw.randrange(4))]
        return {draw.choice("ab"): value(depth - 1) for _ in range(draw.randrange(3))}

    seen = set[Outcome]()
    for _ in range(4_000):
        how = Comparison(
            draw.choice(paths),
            tolerance=draw.choice([0.0, 0.1]),
            relative=draw.choice([0.0, 0.1]),
            top=draw.choice([0, 1, 3]),
            order=draw.choice(list(Order)),
        )
        one, other = {"label": value(3)}, {"label": value(3)}
        bytes_of = [json.dumps(each).encode()[: draw.choice([None, 10])] for each in (one, other)]
        found = outcome((bytes_of[0], ""), (bytes_of[1], draw.choice(["", "", "gzip", "br"])), pairing(how))
        assert found in (Outcome.SAME, Outcome.UNREAD, *DIFFERENCES)
        seen.add(found)
        assert outcome((bytes_of[0], ""), (bytes_of[0], ""), pairing(how)) in (Outcome.SAME, Outcome.UNREAD)
        with contextlib.suppress(Unchecked):
            assert said(one, one, how) is Outcome.SAME
    assert seen == set(Outcome)


def test_the_settings_come_back_as_they_were_written() -> None:
    wanted = pairing(LABEL, NEAR, CLASS, Comparison("100%"[:3], overlap=0.5), protocol=V2)
    text = write_pairing(wanted)
    assert is_pairing(text)
    assert "%" not in text
    assert read_written_pairing(text) == wanted
    for wrong in ("[]", "{}", '{"candidate":1}'):
        with pytest.raises(ValueError, match="these are no settings of a guard"):
            read_written_pairing(wrong)
    with pytest.raises(ValueError, match="'Sum' is not a valid Order"):
        read_written_pairing(text.replace("Score", "Sum"))
