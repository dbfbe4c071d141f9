"""`spec.guard`: what cannot be checked is refused in words that say what to write."""

from dataclasses import replace
from typing import Any

import pytest

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import LONGEST_WRITTEN, Check, OutputGuard, Protocol, read_output, read_written, write_output
from serin.api.kill_switch import FixedAnswer


def read(*checks: dict[str, Any], protocol: str = "OpenInference") -> OutputGuard | None:
    return read_output(Field({"output": {"protocol": protocol, "checks": list(checks)}}, "spec.guard"))


def test_checks_are_read_and_reach_the_guard_as_they_are() -> None:
    found = read(
        {"path": "scores[][0]", "min": "-0.5", "max": "1", "sumsToOne": True, "finite": True},
        {"path": "label", "labels": ["legit", "fraud", "größer"], "shape": [-1]},
        protocol="KServeV1",
    )
    assert found == OutputGuard(
        Protocol.KSERVE_V1,
        (
            Check("scores[][0]", finite=True, minimum=-0.5, maximum=1.0, sums_to_one=True),
            Check("label", labels=frozenset({"legit", "fraud", "größer"}), shape=(-1,)),
        ),
    )
    written = write_output(found)
    assert written.isascii()
    assert read_written(written) == found


def test_a_schema_reaches_the_guard_as_it_is_without_checks_too() -> None:
    text = '{"title": "100 %REQ(x)%", "properties": {"größe": {"const": "%REQ(x)%"}}}'
    found = read_output(Field({"output": {"protocol": "JSON", "schema": text}}, "spec.guard"))
    assert found == OutputGuard(Protocol.JSON, schema='{"properties":{"gr\\u00f6\\u00dfe":{"const":"%REQ(x)%"}}}')
    written = write_output(found)
    assert (written.isascii(), "%" in written) == (True, False)
    assert read_written(written) == found


def test_a_fallback_is_the_routers_and_not_told_to_the_guard() -> None:
    output = {"protocol": "JSON", "checks": [{"path": "score", "finite": True}]}
    answer = {"status": 200, "contentType": "application/json", "body": '{"label": "unknown"}'}
    plain = read_output(Field({"output": output}, "spec.guard"))
    found = read_output(Field({"output": {**output, "fallback": {"answer": answer}}}, "spec.guard"))
    assert plain is not None
    assert plain.fallback is None
    assert found == replace(plain, fallback=FixedAnswer(200, "application/json", '{"label": "unknown"}'))
    assert write_output(found) == write_output(plain)


def test_without_it_nothing_is_checked() -> None:
    assert read_output(None) is None
    assert read_output(Field({}, "spec.guard")) is None


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ({"path": "scores["}, r"checks\[0\]\.path: this is no JMESPath \(.*\): write a path such as score"),
        ({"path": "max(scores)"}, r"path: function expression is not known here: write fields, indexes and \[\] alone"),
        ({"path": "[@, @][]"}, "multi select list is not known here"),
        ({"path": "scores[?score > `1`]"}, "is not known here"),
        ({"path": "a[::0]"}, "slice is not known here"),
        ({"path": "a", "min": "2", "max": "1"}, r"checks\[0\]: min is more than max: exchange them"),
        ({"path": "a", "labels": ["x" * 128 + str(n) for n in range(100)]}, f"more than {LONGEST_WRITTEN} characters"),
    ],
)
def test_what_cannot_work_is_refused(check: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        read(check)


@pytest.mark.parametrize("path", ["score", "scores[0]", "[]", "[].score", "a.b[*].c[]", "a.* | [0]", '"a b"'])
def test_what_is_a_path(path: str) -> None:
    assert read({"path": path, "finite": True})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"protocol":"V9","checks":[]}',
        '{"protocol":"JSON","checks":[1]}',
        '{"protocol":"JSON","checks":[{"path":"a","more":1}]}',
    ],
)
def test_what_is_not_written_here_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_written(text)


def test_no_label_is_a_command_for_envoy() -> None:
    """Envoy formats what goes along with an exchange: with %REQ(x)% in it the guard would be asked for nothing."""
    guard = OutputGuard(Protocol.JSON, (Check("label", labels=frozenset({"%", "100 %", "%REQ(x)%"})),))
    assert "%" not in write_output(guard)
    assert read_written(write_output(guard)) == guard
