"""`spec.guard.input`: what cannot be checked is refused in words that say what to write."""

import json
from typing import Any

import pytest

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import LONGEST_WRITTEN, Check, OutputGuard, Protocol, write_output
from serin.api.guard_inputs import (
    Column,
    InputGuard,
    Type,
    is_input,
    read_input,
    read_written_input,
    with_signature,
    write_input,
)
from serin.api.signature import Signature, Tensor


def read(*columns: dict[str, Any], **more: Any) -> InputGuard | None:
    body = {"protocol": "OpenInference", "onInvalid": "Reject", **({"columns": list(columns)} if columns else {})}
    return read_input(Field({"input": body | more}, "spec.guard"))


def test_columns_are_read_and_reach_the_guard_as_they_are() -> None:
    found = read(
        {"name": "amount", "type": "Number", "min": "0", "max": "1.5", "missing": True},
        {"name": "rows", "index": 0, "type": "Integer", "categories": ["1", "2"]},
        {"name": "größe", "shape": [-1, 4]},
        onInvalid="Count",
        rows=64,
    )
    assert found == InputGuard(
        Protocol.OPEN_INFERENCE,
        (
            Column("amount", type=Type.NUMBER, minimum=0.0, maximum=1.5, missing=True),
            Column("rows", 0, Type.INTEGER, categories=frozenset({"1", "2"})),
            Column("größe", shape=(-1, 4)),
        ),
        reject=False,
        rows=64,
    )
    written = write_input(found)
    assert written.isascii()
    assert is_input(written)
    assert read_written_input(written) == found


def test_a_path_leads_to_the_rows() -> None:
    found = read({"index": 3}, protocol="JSON", path="data.rows")
    assert found == InputGuard(Protocol.JSON, (Column(index=3),), path="data.rows")
    assert read_written_input(write_input(found)) == found
    assert found.columns[0].label == "column 3"


def test_a_schema_reaches_the_guard_as_it_is_without_columns_too() -> None:
    found = read(protocol="JSON", schema='{"required": ["%REQ(x)%"]}')
    assert found == InputGuard(Protocol.JSON, schema='{"required":["%REQ(x)%"]}')
    written = write_input(found)
    assert (is_input(written), "%" in written) == (True, False)
    assert read_written_input(written) == found


def test_a_schema_travels_only_as_far_as_it_fits() -> None:
    schema = {"properties": {f"größe {number}": {"type": "string"} for number in range(80)}}
    column = {"name": "a", "categories": ["x" * 128 + str(number) for number in range(55)]}
    assert read(column)
    with pytest.raises(InvalidSpec, match=f"more than {LONGEST_WRITTEN} characters together: write fewer categories, "):
        read(column, schema=json.dumps(schema))


def test_a_signature_says_what_the_user_has_not_said() -> None:
    taken = (
        Tensor("amount", "FP32", (-1, 1)),
        Tensor("country", "BYTES", (-1,)),
        Tensor("count", "UINT64", (2,)),
        Tensor("known", "BOOL", (-1,)),
    )
    known = Signature(taken, (Tensor("score", "FP32", (-1,)),))
    found = read({"name": "count", "max": "9"}, {"name": "amount", "index": 0, "min": "0"}, signature=True)
    assert found
    assert with_signature(found, None) == found, "it is not known yet"
    assert set(with_signature(found, known).columns) == {
        Column("amount", type=Type.NUMBER, shape=(-1, 1)),
        Column("amount", 0, minimum=0.0),
        Column("country", type=Type.TEXT, shape=(-1,)),
        Column("count", type=Type.INTEGER, maximum=9.0, shape=(2,)),
        Column("known", shape=(-1,)),
    }
    assert with_signature(read(rows=1) or found, known).columns == (), "it was not asked for"


def test_without_it_nothing_is_checked() -> None:
    assert read_input(None) is None
    assert read_input(Field({"output": {}}, "spec.guard")) is None


@pytest.mark.parametrize(
    ("columns", "more", "said"),
    [
        ([{"name": "a", "min": "2", "max": "1"}], {}, r"input\.columns\[0\]: min is more than max: exchange them"),
        ([{"name": "a"}, {"name": "a"}], {}, r"columns\[1\]: this column is there twice: write it once"),
        ([{"index": 0}, {"index": 0}], {"protocol": "JSON"}, r"columns\[1\]: this column is there twice"),
        ([{"index": 0}], {"protocol": "JSON", "path": "max(a)"}, r"input\.path: function expression is not known here"),
        ([{"name": "a", "categories": ["x" * 128 + str(n) for n in range(100)]}], {}, f"than {LONGEST_WRITTEN} char"),
        ([{"name": "a", "type": "Float"}], {}, r"columns\[0\]\.type: 'Float' is unknown: write one of Number"),
    ],
)
def test_what_cannot_work_is_refused(columns: list[dict[str, Any]], more: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        read(*columns, **more)


def test_the_same_tensor_may_have_several_columns() -> None:
    assert read({"name": "a", "shape": [-1, 2]}, {"name": "a", "index": 0}, {"name": "a", "index": 1})


@pytest.mark.parametrize("text", ["", "{}", '{"columns":[]}', '{"columns":[1],"protocol":"JSON"}', '{"columns":3}'])
def test_what_is_not_written_here_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_written_input(text)


def test_settings_of_outputs_are_no_settings_of_inputs() -> None:
    label = '{"columns":'
    assert not is_input(write_output(OutputGuard(Protocol.JSON, (Check(label, labels=frozenset({label})),))))


def test_no_text_of_a_user_is_a_command_for_envoy() -> None:
    """Envoy formats what goes along with an exchange: with %REQ(x)% in it the guard would be asked for nothing."""
    guard = InputGuard(Protocol.JSON, (Column("%REQ(x)%", categories=frozenset({"100 %"})),), path='"%"')
    assert "%" not in write_input(guard)
    assert read_written_input(write_input(guard)) == guard
