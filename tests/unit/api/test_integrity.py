"""`spec.integrity`: what cannot be a request, or an answer, is refused in words that say what to write."""

from typing import Any

import pytest

from serin.api.fields import Field, InvalidSpec
from serin.api.integrity import UNCHECKED, read_integrity


def read(**changes: Any) -> Any:
    probe = {"name": "known", "body": '{"x": 1}', "expected": '{"y": [1]}', "tolerance": "0.5", "timeout": "2s"}
    return read_integrity(
        Field(
            {"goldenProbes": [probe | changes], "every": "1m", "signature": "Required", "digest": "Off"},
            "spec.integrity",
        )
    )


def test_a_probe_is_read() -> None:
    found = read(path="/predict")
    [probe] = found.golden_probes
    assert (probe.name, probe.path, probe.tolerance, probe.timeout, found.every) == ("known", "/predict", 0.5, 2.0, 60)


def test_without_it_nothing_is_asked() -> None:
    assert read_integrity(None) is UNCHECKED
    assert (
        read_integrity(Field({"every": "5m", "signature": "Off", "digest": "Off"}, "spec.integrity")).golden_probes
        == ()
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"body": "{x: 1}"}, r"goldenProbes\[0\]\.body: this is no JSON \(.*\): write what a client sends, in quotes"),
        ({"expected": ""}, r"expected: this is no JSON \(.*\): write what the model must answer"),
        ({"expected": '{"y": NaN}'}, "NaN is no number of JSON"),
        ({"expected": "[" * 40 + "]" * 40}, "more than 32 deep"),
        ({"body": "[" * 16000}, "body: this is no JSON"),
        ({"body": "[" * 8000 + "]" * 8000}, "body: "),
        ({"expected": '{"a":' * 40 + "1" + "}" * 40}, "more than 32 deep"),
        ({"tolerance": "-0.001"}, r"goldenProbes\[0\]\.tolerance: write how far a number may be off"),
        ({"expected": "{}"}, "any answer fits {}: write the part of the answer that is known"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        read(**changes)


def test_as_deep_as_allowed_is_fine() -> None:
    assert read(expected="[" * 32 + "]" * 32)
