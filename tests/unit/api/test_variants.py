"""A variant is the spec with its overlay: a version of its own, with a name of its own."""

from typing import Any

import pytest

from serin.api.effective import declared, versions
from serin.api.fields import InvalidSpec
from serin.api.parse import parse_spec
from serin.api.state import Concluded, State
from serin.api.variants import overlaid
from tests.narratives.world import ab_test, variants


def test_maps_are_merged_and_named_lists_by_name() -> None:
    spec: dict[str, Any] = {
        "model": {"name": "fraud", "version": "1"},
        "template": {
            "spec": {"containers": [{"name": "model", "image": "m:1", "args": ["a"], "env": [{"name": "A"}]}]}
        },
    }
    sidecar = {"name": "sidecar", "image": "s:1"}
    model = {"name": "model", "image": "m:2", "args": ["b", "c"], "env": [{"name": "B"}]}
    overlay = {"name": "b", "model": {"version": "2"}, "template": {"spec": {"containers": [sidecar, model]}}}
    assert overlaid(spec, overlay) == {
        "model": {"name": "fraud", "version": "2"},
        "template": {"spec": {"containers": [{**model, "env": [{"name": "A"}, {"name": "B"}]}, sidecar]}},
    }
    assert spec["model"]["version"] == "1"


def test_each_variant_is_a_version_and_the_spec_stays_what_it_was() -> None:
    with_variants, without = parse_spec(ab_test("1", variants=variants("2", "3"))), parse_spec(ab_test("1"))
    assert with_variants.hashes == without.hashes
    found = declared("fraud", with_variants)
    assert [(one["model"] or {})["version"] for one in found.values()] == ["1", "2", "3"]


def test_the_winner_is_what_runs_until_other_versions_are_declared() -> None:
    spec = parse_spec(ab_test("1", variants=variants("2", "3")))
    own, second, third = declared("fraud", spec)
    ended = State(concluded=Concluded((own, second, third), (), second))
    assert versions("fraud", spec, State()) == (own, second, third)
    assert versions("fraud", spec, ended) == (second,)
    assert versions("fraud", parse_spec(ab_test("1", variants=variants("2"))), ended) == (own, second)


LABELS = {"metadata": {"labels": {"serin.dev/role": "stable"}}}
SERIN_VARIABLE = {"spec": {"containers": [{"name": "model", "env": [{"name": "SERIN_MODEL_URI"}]}]}}


@pytest.mark.parametrize(
    ("overlays", "words"),
    [
        (variants("1"), "variant b is the same version as the spec: change or remove it"),
        (variants("2", "2"), "variant c is the same version as variant b"),
        ([{"name": "b", "config": {"a.b": "1", "a-b": "2"}}], "both become SERIN_CONFIG_A_B"),
        ([{"name": "b", "template": LABELS}], "variant b: the label serin.dev/role is set by Serin: remove it"),
        ([{"name": "b", "template": SERIN_VARIABLE}], "SERIN_MODEL_URI is set by Serin: rename the variable"),
    ],
)
def test_what_cannot_be_a_variant_is_refused_in_words(overlays: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        parse_spec(ab_test("1", variants=overlays))
