"""Requests of clients, valid and not, in each of the layouts."""

import time
from typing import Any

import pytest

from serin.api.guard import Protocol
from serin.api.guard_inputs import Column, InputGuard, Type
from serin.guard.budget import MOST_VALUES, Unchecked
from serin.guard.inputs import invalid

NUMBER = Column("a", type=Type.NUMBER)
RANGE = Column("a", minimum=0.0, maximum=10.0)
WHOLE = Column("a", type=Type.INTEGER)
TEXT = Column("a", type=Type.TEXT)
FLAG = Column("a", type=Type.BOOLEAN)
CATEGORY = Column("a", categories=frozenset({"x", "7"}))
OPTIONAL = Column("a", type=Type.NUMBER, missing=True)
SHAPE = Column("a", shape=(-1, 2))
SECOND = Column("a", 1, Type.NUMBER)


def v2(data: Any, *shape: int, name: str = "a") -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": "FP32", "shape": list(shape), "data": data}]}


def wrong(
    request: Any,
    *columns: Column,
    protocol: Protocol = Protocol.OPEN_INFERENCE,
    rows: int | None = None,
    path: str = "",
) -> str:
    found = invalid(request, InputGuard(protocol, columns, rows=rows, path=path))
    return f"{found.field}: {found.reason}" if found else ""


@pytest.mark.parametrize(
    ("data", "column", "said"),
    [
        ([1, 2.5], NUMBER, ""),
        (["1"], NUMBER, "a value is no number"),
        ([True], NUMBER, "a value is no number"),
        ([{}], NUMBER, "a value is no number"),
        ([None], NUMBER, "a value is missing"),
        ([None, 1], OPTIONAL, ""),
        ([None], OPTIONAL, ""),
        ([0, 10], RANGE, ""),
        ([-0.5], RANGE, "a number is less than 0"),
        ([10.5], RANGE, "a number is more than 10"),
        (["5"], RANGE, "a value is no number"),
        ([5, 5.0], WHOLE, ""),
        ([5.5], WHOLE, "a value is no whole number"),
        ([2**63], WHOLE, ""),
        (["x"], TEXT, ""),
        ([1], TEXT, "a value is no text"),
        ([True, False], FLAG, ""),
        ([1], FLAG, "a value is neither true nor false"),
        (["x", 7], CATEGORY, ""),
        (["y"], CATEGORY, "a value is none of the categories"),
        ([7.0], CATEGORY, "a value is none of the categories"),
        ([[]], Column("a", categories=frozenset({"[]"})), "a value is none of the categories"),
    ],
)
def test_values(data: list[Any], column: Column, said: str) -> None:
    rows = [{"a": one} for one in data]
    assert wrong({"instances": rows}, column, protocol=Protocol.KSERVE_V1) == (said and f"a: {said}")
    if not any(isinstance(one, list) for one in data):
        assert wrong(v2(data, len(data)), column) == (said and f"a: {said}")


@pytest.mark.parametrize(
    ("request_", "column", "said"),
    [
        (v2([1, 2, 3, 4], 2, 2), NUMBER, ""),
        (v2([[1, 2], [3, 4]], 2, 2), NUMBER, ""),
        (v2([[1, 2], ["3", 4]], 2, 2), NUMBER, "a: a value is no number"),
        (v2([[1, 2], 3], 2, 2), NUMBER, "a: its data have rows of different depths"),
        (v2([1], 1, name="b"), NUMBER, "a: it is missing"),
        (v2([1], 1, name="b"), OPTIONAL, ""),
        (v2([1, 2, 3, 4], 2, 2), SHAPE, ""),
        (v2([1, 2, 3, 4], 4), SHAPE, "a: its shape is not [-1, 2]"),
        (v2([1, 2, 3, 4], 4, 1), SHAPE, "a: its shape is not [-1, 2]"),
        (v2([1, 2, 3], 2, 2), SHAPE, "a: it has not as many values as its shape says"),
        (v2([1, 2, 3], 2**62, 2), SHAPE, "a: it has not as many values as its shape says"),
        (v2([1, "x", 3, 4], 2, 2), SECOND, "a[1]: a value is no number"),
        (v2(["x", 2, "y", 4], 2, 2), SECOND, ""),
        (v2([["x", 2], ["y", 4]], 2, 2), SECOND, ""),
        (v2([1, 2], 2), SECOND, "a[1]: a row of it is too short"),
        (v2([1, 2, 3], 1, 2), SECOND, "a[1]: a row of it is too short"),
        (v2([], 1, 0), SECOND, "a[1]: a row of it is too short"),
        (v2(1, 1), NUMBER, "a: its data are no list"),
        (v2([1], -1), NUMBER, "a: it has no valid shape"),
        ({"inputs": [{"name": "a", "data": [1]}]}, NUMBER, "a: it has no valid shape"),
        ({"inputs": [{"name": "a", "shape": [1]}]}, NUMBER, "a: it has no data"),
        ({"inputs": [{"shape": [1]}]}, NUMBER, "inputs: one of them has no name"),
        ({"inputs": [1]}, NUMBER, "inputs: one of them has no name"),
        ({"inputs": {}}, NUMBER, "inputs: it is missing, or no list"),
        ([], NUMBER, "inputs: it is missing, or no list"),
        (None, NUMBER, "inputs: it is missing, or no list"),
    ],
)
def test_open_inference(request_: Any, column: Column, said: str) -> None:
    assert wrong(request_, column) == said


@pytest.mark.parametrize("where", ["binary_data_size", "shared_memory_region"])
def test_data_that_are_elsewhere_are_not_called_invalid(where: str) -> None:
    tensor = {"name": "a", "shape": [1], "parameters": {where: 4}}
    with pytest.raises(Unchecked):
        wrong({"inputs": [tensor]}, NUMBER)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"instances": [{"a": 1}, {"a": 2, "more": "x"}]}, ""),
        ({"instances": [{"b": 1}]}, "a: a value is missing"),
        ({"instances": [[1]]}, "a: a row has no names of columns"),
        ({"instances": []}, ""),
        ({"instances": {}}, "instances: it is missing, or no list"),
        ({"inputs": {"a": [1, 2]}}, ""),
        ({"inputs": {"a": ["x"]}}, "a: a value is no number"),
        ({"inputs": {"a": 1}}, ""),
        ({"inputs": {"b": [1]}}, "a: a value is missing"),
        ({"inputs": [{"a": 1}]}, ""),
        ({"inputs": [{"a": "x"}]}, "a: a value is no number"),
        ({"inputs": "x"}, "inputs: it is missing, or no list"),
        ({}, "instances: it is missing, or no list"),
        ("x", "instances: it is missing, or no list"),
    ],
)
def test_kserve_v1_by_name(request_: Any, said: str) -> None:
    assert wrong(request_, NUMBER, protocol=Protocol.KSERVE_V1) == said


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"instances": [["x", 2], ["y", 3.5]]}, ""),
        ({"instances": [["x", "2"]]}, "column 1: a value is no number"),
        ({"instances": [["x"]]}, "column 1: a value is missing"),
        ({"instances": [{"a": 1}]}, "column 1: a row is no list"),
        ({"inputs": {"a": [1]}}, "column 1: the columns have names, and this one is known by its place"),
    ],
)
def test_kserve_v1_by_place(request_: Any, said: str) -> None:
    assert wrong(request_, Column(index=1, type=Type.NUMBER), protocol=Protocol.KSERVE_V1) == said
    assert wrong({"instances": [1, 2]}, Column(index=0, type=Type.NUMBER), protocol=Protocol.KSERVE_V1) == ""


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"messages": [{}], "a": 1}, ""),
        ({"messages": [{}], "a": "1"}, "a: a value is no number"),
        ({"messages": [{}], "a": [1]}, "a: a value is no number"),
        ({"messages": [{}]}, "a: a value is missing"),
        ({"messages": [{}] * 3, "a": 1}, "messages: there are more than 2 rows"),
        ({"messages": {}, "a": 1}, "messages: it is no list"),
        ({"messages": None, "a": 1}, "messages: it is no list"),
        ({"prompt": "hello", "a": 1}, ""),
        ({"prompt": [1, 2, 3, 4], "a": 1}, ""),
        ({"prompt": ["x", "y"], "a": 1}, ""),
        ({"prompt": ["x", "y", "z"], "a": 1}, "prompt: there are more than 2 rows"),
        ({"prompt": [[1], [2], [3]], "a": 1}, "prompt: there are more than 2 rows"),
        ({"messages": [{}], "prompt": ["x"] * 3, "a": 1}, "prompt: there are more than 2 rows"),
        ({"prompt": [], "a": 1}, ""),
        ({"a": 1}, ""),
        ([], "request: it is no object"),
        ("x", "request: it is no object"),
    ],
)
def test_open_ai(request_: Any, said: str) -> None:
    assert wrong(request_, NUMBER, protocol=Protocol.OPEN_AI, rows=2) == said


@pytest.mark.parametrize(
    ("request_", "path", "said"),
    [
        ({"data": {"rows": [{"a": 1}]}}, "data.rows", ""),
        ({"data": {"rows": [{"a": "x"}]}}, "data.rows", "a: a value is no number"),
        ({"data": {}}, "data.rows", "data.rows: there are no rows"),
        ({"rows": 3}, "rows", "rows: there are no rows"),
        ({"a": 1}, "", ""),
        ({"a": "x"}, "", "a: a value is no number"),
        ([{"a": 1}, {"a": None}], "", "a: a value is missing"),
        (3, "", "request: there are no rows"),
    ],
)
def test_any_json(request_: Any, path: str, said: str) -> None:
    assert wrong(request_, NUMBER, protocol=Protocol.JSON, path=path) == said


@pytest.mark.parametrize(
    ("request_", "protocol", "said"),
    [
        (v2([1, 2], 2), Protocol.OPEN_INFERENCE, ""),
        (v2([1, 2, 3], 3), Protocol.OPEN_INFERENCE, "inputs: there are more than 2 rows"),
        (v2([1, 2, 3, 4], 2, 2), Protocol.OPEN_INFERENCE, ""),
        (v2([[1], [2], [3]], 1, 1), Protocol.OPEN_INFERENCE, "inputs: there are more than 2 rows"),
        ({"inputs": []}, Protocol.OPEN_INFERENCE, ""),
        ({"instances": [1, 2, 3]}, Protocol.KSERVE_V1, "instances: there are more than 2 rows"),
        ({"inputs": {"a": [1, 2, 3]}}, Protocol.KSERVE_V1, "inputs: there are more than 2 rows"),
        ([1, 2, 3], Protocol.JSON, "request: there are more than 2 rows"),
    ],
)
def test_rows(request_: Any, protocol: Protocol, said: str) -> None:
    assert wrong(request_, protocol=protocol, rows=2) == said


def test_no_message_has_anything_of_the_request() -> None:
    """Whatever is wrong with it: clients' data are nobody's business."""
    secret = "4111-1111"
    for column in (NUMBER, RANGE, WHOLE, FLAG, CATEGORY, SHAPE, SECOND):
        for data in ([secret], [[secret]], secret, [{secret: secret}], {secret: [secret]}):
            for request in (
                v2(data, 1, 1),
                v2(data, 1, name=secret),
                {"instances": data},
                {"inputs": data},
                {secret: data},
            ):
                for protocol in Protocol:
                    assert secret not in wrong(request, column, protocol=protocol)


def test_what_has_too_many_values_passes_unchecked_and_costs_a_bounded_time() -> None:
    many = [Column(f"c{at}", type=Type.INTEGER, missing=True) for at in range(99)]
    places = [Column("c0", at) for at in range(99)]
    rows = [{} for _ in range(MOST_VALUES // 2)]
    started = time.process_time()
    dimensions = {"inputs": [{"name": "c0", "shape": [1] * (MOST_VALUES // 2), "data": []}]}
    with pytest.raises(Unchecked):
        wrong(dimensions, Column("c0"), *places)
    for request, protocol in (
        ({"instances": rows}, Protocol.KSERVE_V1),
        (v2([1] * (MOST_VALUES + 1), MOST_VALUES + 1, name="c0"), Protocol.OPEN_INFERENCE),
        (v2([[[]]] * MOST_VALUES, MOST_VALUES, 1, 0, name="c0"), Protocol.OPEN_INFERENCE),
        ({"inputs": [{"name": "c0"}] * (MOST_VALUES + 1)}, Protocol.OPEN_INFERENCE),
    ):
        with pytest.raises(Unchecked):
            wrong(request, *many, protocol=protocol)
    assert time.process_time() - started < 5.0
