"""Whether clients of one version can speak to another: the first difference, in words."""

import pytest

from serin.api.signature import Signature, Tensor
from serin.evaluation.signature import incompatibility

X, AGE, Y = Tensor("x", "FP32", (-1, 4)), Tensor("age", "INT64", (-1, 1)), Tensor("y", "FP32", (-1,))
BEFORE = Signature((X, AGE), (Y,))


def test_the_same_and_what_is_more_than_that_is_compatible() -> None:
    wider = Signature((Tensor("age", "INT64", (-1, -1)), Tensor("x", "FP32", (-1, -1))), (Tensor("z", "BYTES", ()), Y))
    assert incompatibility(BEFORE, BEFORE, "stable") == ""
    assert incompatibility(BEFORE, wider, "stable") == ""
    assert incompatibility(Signature((X,), ()), Signature((X,), (Y,)), "stable") == ""
    narrower = Signature((X, AGE), (Tensor("y", "FP32", (1,)),))
    assert incompatibility(BEFORE, narrower, "stable") == ""


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (Signature((X,), (Y,)), "input age is gone (stable has it: INT64 [-1, 1])"),
        (
            Signature((X, AGE, Tensor("zip", "BYTES", (-1,))), (Y,)),
            "input zip (BYTES [-1]) is new: stable has no such input",
        ),
        (
            Signature((X, Tensor("age", "FP64", (-1, 1))), (Y,)),
            "input age is FP64 [-1, 1], stable has INT64 [-1, 1]",
        ),
        (Signature((Tensor("x", "FP32", (-1, 5)), AGE), (Y,)), "input x is FP32 [-1, 5], stable has FP32 [-1, 4]"),
        (Signature((Tensor("x", "FP32", (8, 4)), AGE), (Y,)), "input x is FP32 [8, 4], stable has FP32 [-1, 4]"),
        (Signature((Tensor("x", "FP32", (4,)), AGE), (Y,)), "input x is FP32 [4], stable has FP32 [-1, 4]"),
        (Signature((X, AGE), ()), "output y is gone (stable has it: FP32 [-1])"),
        (Signature((X, AGE), (Tensor("y", "INT64", (-1,)),)), "output y is INT64 [-1], stable has FP32 [-1]"),
    ],
)
def test_the_first_difference_is_named(now: Signature, said: str) -> None:
    assert incompatibility(BEFORE, now, "stable") == said


def test_an_output_of_any_size_is_no_answer_of_one_size() -> None:
    one = Signature((), (Tensor("y", "FP32", (3,)),))
    assert incompatibility(one, Signature((), (Tensor("y", "FP32", (-1,)),)), "stable")


def test_every_output_is_compared() -> None:
    z = Tensor("z", "FP32", (3,))
    said = incompatibility(Signature((), (Y, z)), Signature((), (Y,)), "stable")
    assert said == "output z is gone (stable has it: FP32 [3])"
