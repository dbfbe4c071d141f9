"""MetricTemplates, and whether every rule of the CRDs has been tried."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests import crds
from tests.integration.crds.cases import BUILT_IN_REFUSED, KNOWN, REFUSED, TEMPLATES_REFUSED, TOKENS, Refusals
from tests.integration.crds.rig import Api, documents
from tests.simulation.api import jsonpatch

pytestmark = pytest.mark.control_plane


class TestMetricTemplates:
    @pytest.mark.parametrize(
        ("patch", "words"), (TEMPLATES_REFUSED | BUILT_IN_REFUSED).values(), ids=TEMPLATES_REFUSED | BUILT_IN_REFUSED
    )
    def test_refused_with_the_field_and_the_fix(self, nowhere: Api, patch: str, words: tuple[str, ...]) -> None:
        body = jsonpatch.merge(documents("canary.yaml")[1], yaml.safe_load(patch))
        message = nowhere.creation_refused(body)
        assert [word for word in words if word not in message] == [], message

    @pytest.mark.parametrize(
        "patch",
        [
            "spec: {ratio: null, histogram: {buckets: 'b{ {{.version}} }', unit: ''}}",
            "spec: {ratio: null, value: {query: up}}",
            "spec: {ratio: null, " + KNOWN + "}",
            "spec: {ratio: null, " + TOKENS + "}",
        ],
    )
    def test_the_other_shapes(self, api: Api, patch: str) -> None:
        body = jsonpatch.merge(documents("canary.yaml")[1], yaml.safe_load(patch)) | {"metadata": {"name": "other"}}
        api.create(body, dry_run="All")


class TestRules:
    @pytest.mark.parametrize(
        ("kind", "cases"), [("ModelDeployment", REFUSED), ("MetricTemplate", TEMPLATES_REFUSED | BUILT_IN_REFUSED)]
    )
    def test_every_rule_has_its_case(self, kind: str, cases: Refusals) -> None:
        untried = [
            (path, message)
            for path, message in _rules(crds.schema(kind))
            if not any(_answers(words, path, message) for _, words in cases.values())
        ]
        assert untried == []


def _rules(part: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every rule of a schema: the field that it names, and its message."""
    for rule in part.get("x-kubernetes-validations", ()):
        yield path + rule.get("fieldPath", ""), rule["message"]
    for name, inner in part.get("properties", {}).items():
        yield from _rules(inner, f"{path}.{name}")
    if "items" in part:
        yield from _rules(part["items"], path)


def _answers(words: tuple[str, ...], path: str, message: str) -> bool:
    """Whether a case expects this message for this field; rules of the whole resource name no field."""
    field = re.sub(r"\[\d+\]|:.*", "", words[0])
    return (not path or path.endswith(field)) and any(word in message for word in words)
