"""`spec.guard.review` as it is read, and what goes to the guard and to the operator."""

from dataclasses import replace
from typing import Any

import pytest

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import LONGEST_WRITTEN, Protocol
from serin.api.guard_review import (
    LARGEST_ITEM,
    LONGEST_FIELD,
    LONGEST_FIELDS,
    Confidence,
    Item,
    Numbers,
    Part,
    ReviewGuard,
    Taken,
    is_reviewing,
    item_proof,
    read_item,
    read_review,
    read_written_reviewing,
    reviewing,
    verdict_proof,
    write_item,
    write_reviewing,
)
from serin.api.json import JsonObject
from tests import crds

FULL = ReviewGuard(
    Protocol.KSERVE_V1,
    share=5,
    per_hour=60,
    request=("[].a",),
    answer=("[].label", "[].p"),
    keep=10,
    expires=3600.0,
    confidence=Confidence("[].p", 0.6, Numbers.ROWS),
    webhook="labels",
)
ITEM = Item("shop/fraud", "proof", "fraud-a", 0.5, (Taken(Part.ANSWER, "label", '"x"'), Taken(Part.REQUEST, "a", None)))


def read(**review: object) -> ReviewGuard:
    body: JsonObject = {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "ModelDeployment",
        "spec": {"guard": {"review": review}},
    }
    found = read_review(Field(crds.defaulted(body)["spec"]["guard"], "spec.guard"))
    assert found is not None
    return found


def test_defaults_and_everything() -> None:
    assert read(answer=["label"]) == ReviewGuard(Protocol.OPEN_INFERENCE, 10, 20, (), ("label",), 50, 604800.0)
    found = read(
        protocol="KServeV1",
        share=5,
        perHour=60,
        request=["[].a"],
        answer=["[].label", "[].p"],
        keep=10,
        expireAfter="1h",
        confidence={"path": "[].p", "below": "0.6", "of": "Rows"},
        webhook={"name": "labels"},
    )
    assert found == FULL


@pytest.mark.parametrize(
    ("review", "words"),
    [
        ({"answer": ["sort(x)"]}, r"spec.guard.review.answer\[0\]: function expression is not known here"),
        ({"request": ["a", "b["]}, r"spec.guard.review.request\[1\]: this is no JMESPath"),
        (
            {"answer": ["a"], "confidence": {"path": "max(p)", "below": "1"}},
            "spec.guard.review.confidence.path: function",
        ),
    ],
)
def test_a_path_that_is_none_is_refused_by_name(review: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        read(**review)


def test_the_longest_settings_fit_or_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="write shorter ones, or fewer"):
        read(answer=['"' + "é" * 60 + f'{at:02}"' for at in range(16)], request=['"' + "é" * 60 + '"'] * 16)
    most = read(answer=["a" * 126 + f"{at:02}" for at in range(16)], request=["b" * 128] * 16)
    assert len(write_reviewing(reviewing("n" * 110, "u", most))) <= LONGEST_WRITTEN


def test_the_guard_is_told_what_it_needs_and_no_more() -> None:
    told = reviewing("shop/fraud", "uid", FULL)
    text = write_reviewing(told)
    assert is_reviewing(text)
    assert read_written_reviewing(text) == told
    assert (told.pause, told.proof) == (60.0, item_proof("uid"))
    assert "labels" not in text
    assert verdict_proof(b"key", "uid")[:-1] not in text  # by which the operator alone tells the router
    assert verdict_proof(b"key", "uid") != verdict_proof(b"another", "uid")
    plain = reviewing("shop/fraud", "uid", replace(FULL, confidence=None))
    assert read_written_reviewing(write_reviewing(plain)) == plain


@pytest.mark.parametrize("text", ['{"answer":1}', '{"answer":[]}', "[]", '{"answer":[],"confidence":[1]}', "{"])
def test_other_settings_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        read_written_reviewing(text)


def test_an_item_arrives_as_it_was_sent() -> None:
    assert read_item(write_item(ITEM)) == ITEM
    assert read_item(write_item(replace(ITEM, confidence=None, left_out=7))).left_out == 7


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5},
        {"snapshot": None},
        {"fields": [["Request", "a"]]},
        {"fields": [["Other", "a", "1"]]},
        {"fields": [["Request", 1, "1"]]},
        {"fields": [["Request", "a", 1]]},
        {"fields": [["Request", "a", "x" * (LONGEST_FIELD + 1)]]},
        {"fields": [["Request", "a", "x" * LONGEST_FIELD]] * 4},
        {"fields": 3},
        {"confidence": "0.5"},
        {"confidence": True},
        {"leftOut": 1.5},
    ],
)
def test_what_is_no_item_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"this is no item of a review|too long"):
        read_item(write_item(ITEM) | change)
    with pytest.raises(ValueError, match="no item"):
        read_item(list(change))


def test_bounds_are_those_of_the_crd_and_fit_on_the_way() -> None:
    fields = crds.schema("ReviewItem")["properties"]["spec"]["properties"]["fields"]
    assert fields["items"]["properties"]["value"]["maxLength"] == LONGEST_FIELD
    review = crds.schema("ModelDeployment")["properties"]["spec"]["properties"]["guard"]["properties"]["review"]
    both = [review["properties"][part] for part in ("request", "answer")]
    assert fields["maxItems"] == sum(one["maxItems"] for one in both)
    assert {one["items"]["maxLength"] for one in both} == {fields["items"]["properties"]["path"]["maxLength"]}
    assert LONGEST_FIELDS + 32 * 160 + 1024 < LARGEST_ITEM
