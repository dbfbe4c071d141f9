"""JSON Schemas of requests and answers: what is said of a body, and what the worst of both costs."""

import json
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as some

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import Check, OutputGuard, Protocol
from serin.api.guard_inputs import InputGuard
from serin.api.guard_schema import DEEPEST, read_schema
from serin.guard.budget import Unchecked
from serin.guard.checks import problem
from serin.guard.inputs import Invalid, invalid
from serin.guard.schemas import _compiled, misfit

A = {"properties": {"a": {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": 9.5}}}


def read(schema: Any) -> str:
    return read_schema(Field(json.dumps(schema), "spec.guard.output.schema"))


def said(schema: Any, body: Any) -> str:
    found = misfit(body, read(schema))
    return ": ".join(found) if found else ""


@pytest.mark.parametrize(
    ("schema", "body", "wanted"),
    [
        (A, {"a": 1}, ""),
        (A, {"a": None}, ""),
        (A, {}, ""),
        (A, {"a": "1"}, "a: it is not of the type number or null"),
        (A, {"a": -1}, "a: a number is less than 0"),
        (A, {"a": 9.5}, "a: a number is not less than 9.5"),
        ({"maximum": 1, "exclusiveMinimum": 0}, 2, ": a number is more than 1"),
        ({"maximum": 1, "exclusiveMinimum": 0}, 0, ": a number is not more than 0"),
        ({"type": "object"}, [], ": it is not of the type object"),
        ({"required": ["a", "b"]}, {"a": 1}, "b: it is missing"),
        ({"properties": {"a": {"required": ["b"]}}}, {"a": {}}, "a.b: it is missing"),
        ({"items": {"required": ["b"]}}, [{}], "[].b: it is missing"),
        ({"properties": {"a": {"items": A}}}, {"a": [{"a": 1}, {"a": -1}]}, "a[].a: a number is less than 0"),
        ({"properties": {"properties": A}}, {"properties": {"a": -1}}, "properties.a: a number is less than 0"),
        (
            {"properties": {"items": {"items": {"type": "string"}}}},
            {"items": [1]},
            "items[]: it is not of the type string",
        ),
        ({"additionalProperties": {"type": "string"}}, {"secret": 1}, "*: it is not of the type string"),
        ({"additionalProperties": False, **A}, {"secret": 1}, ": it has a field that the schema has not"),
        (
            {"properties": {"a": {"additionalProperties": False}}},
            {"a": {"secret": 1}},
            "a: it has a field that the schema has not",
        ),
        ({"enum": ["stop", 1, None]}, "secret", ": it is none of the values of enum"),
        ({"const": False}, True, ": it is not the value of const"),
        ({"minItems": 1, "maxItems": 2}, [], ": a list has fewer than 1 items"),
        ({"minItems": 1, "maxItems": 2}, [1, 2, 3], ": a list has more than 2 items"),
        ({"minLength": 1, "maxLength": 2}, "", ": a text has fewer than 1 characters"),
        ({"minLength": 1, "maxLength": 2}, "äöü", ": a text has more than 2 characters"),
        ({"minProperties": 1, "maxProperties": 1}, {}, ": it has fewer than 1 fields"),
        ({"minProperties": 1, "maxProperties": 1}, {"a": 1, "b": 1}, ": it has more than 1 fields"),
    ],
)
def test_what_is_said_has_the_schemas_words_alone(schema: Any, body: Any, wanted: str) -> None:
    assert said(schema, body) == wanted
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(body) is (not wanted)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (True, "a schema is an object: write for example"),
        ({"properties": {"a": 1}}, "a schema is an object (properties.a): write for example"),
        ({"properties": []}, "properties is no object"),
        ({"$ref": "https://elsewhere.example/schema"}, "$ref is not known here: write what it refers to in its place"),
        ({"$dynamicRef": "#a"}, "$dynamicRef is not known here: write additionalProperties, const, enum"),
        ({"$id": "https://elsewhere.example"}, "$id is not known here"),
        ({"items": {"pattern": "(a+)+$"}}, "pattern (items) is not known here: write enum, minLength or maxLength"),
        ({"patternProperties": {"(a+)+$": {}}}, "patternProperties is not known here: write the names in properties"),
        ({"format": "regex"}, "format is not known here"),
        (
            {"anyOf": [{"required": ["a"]}, {"type": "null"}]},
            "anyOf is not known here: write parts of which each has a type",
        ),
        (
            {"oneOf": [{"type": "integer"}, {"type": "number"}]},
            "oneOf is not known here: write parts of which each has",
        ),
        ({"anyOf": [{"type": "string", "minLength": 2}, {"type": "string"}]}, "anyOf is not known here"),
        ({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}, "anyOf is not known here"),
        ({"anyOf": [{"type": "string", "minimum": 2}, {"type": "integer"}]}, "anyOf is not known here"),
        ({"anyOf": [{"type": ["string", "null"]}]}, "anyOf is not known here"),
        ({"anyOf": [{"type": "string"}], "minimum": 1}, "anyOf is not known here"),
        ({"anyOf": []}, "anyOf is not known here"),
        ({"anyOf": "a"}, "anyOf is not known here"),
        ({"anyOf": [True]}, "anyOf is not known here"),
        ({"anyOf": [{"type": "array", "items": {"pattern": "a"}}]}, "pattern (items) is not known here"),
        ({"not": {}}, "not is not known here"),
        ({"uniqueItems": True}, "uniqueItems is not known here"),
        ({"items": [{}]}, "a schema is an object (items)"),
        ({"items": False}, "a schema is an object (items)"),
        ({"type": "float"}, "type is none: write one of the types of JSON"),
        ({"type": ["string", "string"]}, "type is none"),
        ({"type": []}, "type is none"),
        ({"enum": [[1]]}, "enum is none: write a list of texts and numbers"),
        ({"const": {}}, "const is none"),
        ({"required": ["a", "a"]}, "required is none: write a list of names, each once"),
        ({"minimum": "1"}, "minimum is none: write a number"),
        ({"minimum": True}, "minimum is none: write a number"),
        ({"minimum": 10**400}, "minimum is none: write a number"),
        ({"minItems": -1}, "minItems is none: write a whole number"),
    ],
)
def test_what_is_not_known_says_what_to_write_instead(schema: Any, words: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        read(schema)
    assert f"spec.guard.output.schema: {words}" in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", '{"minimum": NaN}', "[" * 4_000, '{"items":' * 400])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(InvalidSpec, match="this is no JSON: write for example"):
        read_schema(Field(text, "spec.guard.output.schema"))


@pytest.mark.parametrize("name", ["00", "+1", "", "5"])
@pytest.mark.parametrize("deep", [False, True])
def test_names_that_look_like_numbers_are_compared(name: str, deep: bool) -> None:
    number: Any = {"type": "number"}
    schema = json.dumps({"properties": {name: {"properties": {"a": number}} if deep else number}})
    assert misfit({name: {"a": "x"} if deep else "x"}, schema) is not None
    assert misfit({name: {"a": 5} if deep else 5}, schema) is None


def test_what_may_be_null_is_read_as_pydantic_writes_it() -> None:
    age = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}], "default": None, "title": "Age"}
    assert read({"properties": {"age": age}}) == '{"properties":{"age":{"minimum":0,"type":["integer","null"]}}}'
    assert said({"properties": {"age": age}}, {"age": -1}) == "age: a number is less than 0"
    assert said({"properties": {"age": age}}, {"age": "1"}) == "age: it is not of the type integer or null"


PARTS = {
    "null": some.just({}),
    "boolean": some.just({}),
    "number": some.fixed_dictionaries({}, optional={"minimum": some.integers(-1, 1), "exclusiveMaximum": some.just(2)}),
    "string": some.fixed_dictionaries({}, optional={"minLength": some.integers(0, 2), "title": some.just("a")}),
    "array": some.fixed_dictionaries({}, optional={"items": some.just({"type": "null"}), "maxItems": some.just(1)}),
    "object": some.fixed_dictionaries({}, optional={"required": some.just(["a"]), "maxProperties": some.just(1)}),
}
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers(-2, 3) | some.sampled_from(["", "a", "ab", 0.5, 2.0]),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(some.sampled_from("ab"), inner, max_size=2),
    max_leaves=3,
)


@given(
    some.lists(some.sampled_from(sorted(PARTS)), min_size=1, unique=True).flatmap(
        lambda types: some.tuples(*(PARTS[one].map(lambda part, one=one: {"type": one, **part}) for one in types))
    ),
    some.sampled_from(["anyOf", "oneOf"]),
    VALUES,
)
def test_an_any_of_of_types_says_the_same_as_one_part(parts: tuple[Any, ...], word: str, body: Any) -> None:
    schema = {word: [*parts]}
    assert (misfit(body, read(schema)) is None) is jsonschema.Draft202012Validator(schema).is_valid(body)


def test_what_is_for_people_does_not_travel() -> None:
    assert read({"$schema": "x", "title": "y", "type": "object", "default": {"$ref": "z"}}) == '{"type":"object"}'


def test_a_schema_is_nested_no_deeper_than_it_may() -> None:
    schema: Any = {}
    for _ in range(DEEPEST):
        schema = {"items": schema}
    read(schema)
    with pytest.raises(InvalidSpec, match="nested deeper than 16"):
        read({"items": schema})


def test_beside_checks_and_columns() -> None:
    schema = read({"required": ["b"], "properties": {"b": {"type": "string"}}})
    outputs = OutputGuard(Protocol.JSON, (Check("a", maximum=1.0),), schema)
    assert problem({"a": 2}, outputs) == "a: a number is more than 1"
    assert problem({"a": 1}, outputs) == "b: it is missing"
    assert problem({"a": 1, "b": "x"}, outputs) == ""
    assert problem([], OutputGuard(Protocol.JSON, (), read({"type": "object"}))) == (
        "the answer: it is not of the type object"
    )
    inputs = InputGuard(Protocol.JSON, schema=schema)
    assert invalid({"b": 1}, inputs) == Invalid("b", "it is not of the type string")
    assert invalid({"b": "x"}, inputs) is None
    assert invalid("x", InputGuard(Protocol.JSON, schema=read({"type": "object"}))) == (
        Invalid("request", "it is not of the type object")
    )


WORST = {
    "enum": ({"items": {"enum": [one + 0.5 for one in range(550)]}}, 550.5),
    "required": ({"items": {"required": [f"a{one}" for one in range(500)]}}, {}),
    "properties": ({"items": {"properties": {f"a{one}": {"type": "null"} for one in range(150)}}}, {"a149": 1}),
    "fractions": ({"items": {"minimum": 0.1, "maximum": 5.5, "exclusiveMinimum": 0.01, "exclusiveMaximum": 9.5}}, 5.75),
    "short": ({"items": {"type": "null"}}, 1),
    "length": ({"items": {"minLength": 1, "maxLength": 5}}, "x" * 4),
    "deep": ({"items": {"items": {"items": {"maximum": 1}}}}, [[[1, 1, 1]]]),
}


@pytest.mark.parametrize("what", WORST)
@pytest.mark.parametrize("good", [True, False])
def test_the_worst_schema_and_the_worst_body_cost_a_moment(what: str, good: bool) -> None:
    schema, one = WORST[what]
    text = read(schema)
    assert len(text) <= 8192
    most = _compiled(text)[1]
    whole: Any = {"enum": 549.5, "required": {f"a{one}": 1 for one in range(500)}, "properties": {"a149": None}}
    fits = whole.get(what, {"fractions": 1.5, "short": None, "length": "xxxx", "deep": [[[1, 1, 1]]]}.get(what))
    sizes = {"required": 501 if good else 1, "properties": 2, "deep": 6}
    count = most // sizes.get(what, 1) - 2
    body = [fits if good else one] * count
    start = time.process_time()
    misfit(body, text)
    assert time.process_time() - start < 5.0  # a tenth where nothing else runs
    with pytest.raises(Unchecked):
        misfit([one] * (most + 1), text)


def test_deep_bodies_need_no_stack() -> None:
    body: Any = 1
    for _ in range(1_000):
        body = {"a": [body]}
    assert said({"type": "object"}, body) == ""
    assert said({"type": "array"}, body) == ": it does not fit the schema"


JSON: Any = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(-3, 3)
    | some.floats(-3, 3)
    | some.sampled_from(["", "a", "b", "stop"]),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
LEAVES: Any = some.fixed_dictionaries(
    {},
    optional={
        "type": some.sampled_from(["string", "integer", "number", "array", "object", "null", "boolean"]),
        "enum": some.lists(some.sampled_from(["a", 1, 1.0, None, True, 0]), min_size=1, max_size=2),
        "const": some.sampled_from(["a", 1, False, 0.0]),
        "minimum": some.integers(-2, 2),
        "exclusiveMaximum": some.floats(-2, 2),
        "maxLength": some.integers(0, 3),
        "minItems": some.integers(0, 2),
        "maxProperties": some.integers(0, 2),
        "required": some.lists(some.sampled_from("abc"), unique=True),
    },
)
SCHEMAS: Any = some.recursive(
    LEAVES,
    lambda inner: some.fixed_dictionaries(
        {},
        optional={
            "properties": some.dictionaries(some.sampled_from("abc"), inner, max_size=2),
            "items": inner,
            "additionalProperties": inner | some.booleans(),
        },
    ),
    max_leaves=5,
)


@given(SCHEMAS, JSON)
def test_whatever_both_are_another_library_says_the_same(schema: Any, body: Any) -> None:
    assert (said(schema, body) == "") is jsonschema.Draft202012Validator(schema).is_valid(body)
