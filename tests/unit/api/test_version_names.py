"""Properties of a version's name: it says what the version is made of, and nothing else."""

import copy
import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from serin.api import names
from serin.api.parse import content_of
from tests import crds

_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
few = settings(max_examples=50, deadline=None)  # every example fills in a whole schema
_keys = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
_json = st.recursive(
    st.booleans() | st.integers(-(2**31), 2**31) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)
_models = st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "version", "uri", "digest"), _text))


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Specs as the API server stores them, with pod templates of any shape."""
    container = draw(st.dictionaries(_keys, _json, max_size=4)) | {"name": "model", "image": draw(_text)}
    spec: dict[str, Any] = {
        "port": draw(st.integers(1, 65535)),
        "template": {"spec": draw(st.dictionaries(_keys, _json, max_size=3)) | {"containers": [container]}},
    }
    spec["model"] = draw(_models)
    spec["config"] = draw(st.dictionaries(_keys, _text, max_size=4))
    if draw(st.booleans()):
        spec["features"] = {"schemaVersion": draw(_text)}
    body = {"kind": "ModelDeployment", "spec": spec}
    filled: dict[str, Any] = crds.defaulted(body)["spec"]
    return filled


def reordered(value: Any) -> Any:
    """The same JSON with the keys of every map in the opposite order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(list(value))}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@few
@given(specs())
def test_a_name_is_valid_and_the_same_for_the_same_content(spec: dict[str, Any]) -> None:
    name = names.snapshot_name("fraud", content_of(spec))
    assert re.fullmatch(r"fraud-[bcdfghjklmnpqrstvwxz2456789]{10}", name)
    assert name == names.snapshot_name("fraud", content_of(copy.deepcopy(spec)))


@few
@given(specs())
def test_the_order_of_keys_does_not_change_the_name(spec: dict[str, Any]) -> None:
    turned = reordered(spec)
    assert names.snapshot_name("fraud", content_of(turned)) == names.snapshot_name("fraud", content_of(spec))


@few
@given(specs())
def test_content_that_went_through_json_has_the_same_name(spec: dict[str, Any]) -> None:
    content = content_of(spec)
    back = json.loads(json.dumps({key: value for key, value in content.items() if value is not None}))
    assert names.snapshot_name("fraud", back) == names.snapshot_name("fraud", content)


@few
@given(specs(), _text)
def test_a_change_of_one_dimension_changes_its_hash_alone(spec: dict[str, Any], text: str) -> None:
    before = names.dimension_hashes(content_of(spec))
    changes: dict[str, dict[str, Any]] = {
        "runtime": {"port": spec["port"] % 65535 + 1},
        "model": {"model": {**spec["model"], "version": spec["model"].get("version", "") + text}},
        "config": {"config": {**spec["config"], "new-key": text}},
        "features": {"features": {"schemaVersion": spec.get("features", {}).get("schemaVersion", "") + text}},
    }
    for dimension, change in changes.items():
        after = names.dimension_hashes(content_of({**spec, **change}))
        assert [one for one in names.DIMENSIONS if after[one] != before[one]] == [dimension]


@few
@given(specs(), _text | st.integers() | st.booleans() | st.lists(_text, min_size=1, max_size=3))
def test_any_change_of_the_pod_template_is_a_change_of_the_runtime(spec: dict[str, Any], value: Any) -> None:
    changed = copy.deepcopy(spec)
    changed["template"]["spec"]["containers"][0]["Args"] = value
    before, after = (names.dimension_hashes(content_of(one)) for one in (spec, changed))
    assert [one for one in names.DIMENSIONS if after[one] != before[one]] == ["runtime"]


@few
@given(specs())
def test_what_is_no_part_of_a_version_changes_no_name(spec: dict[str, Any]) -> None:
    other = copy.deepcopy(spec) | {"replicas": 7, "progressDeadline": "1h"}
    other["strategy"] = {"canary": {"steps": [{"weight": 100, "bake": "0s"}]}}
    other["metrics"] = other["metrics"][:1]
    other["router"]["envoy"]["timeout"] = "1s"
    assert content_of(other) == content_of(spec)
