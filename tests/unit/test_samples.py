"""The samples are what they say: the demo's versions are one deployment that changes in model and config alone."""

from typing import Any

import pytest
import yaml

from serin.api.parse import parse_spec
from tests import crds

DEMO = crds.ROOT / "manifests" / "samples" / "demo"
VERSIONS = ("1", "2", "3", "4", "5")


def version(number: str) -> dict[str, Any]:
    (body,) = yaml.safe_load_all((DEMO / f"version-{number}.yaml").read_text())
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("number", VERSIONS)
def test_a_version_differs_from_the_first_in_model_and_config_alone(number: str) -> None:
    first, one = version("1"), version(number)
    assert one["spec"]["model"]["version"] == number
    for body in (first, one):
        body["spec"].pop("model")
        body["spec"].pop("config", None)
    assert one == first


def test_every_version_is_another_one() -> None:
    contents = [parse_spec(crds.defaulted(version(number))["spec"]).content for number in VERSIONS]
    assert all(contents.count(one) == 1 for one in contents)


@pytest.mark.parametrize("number", VERSIONS)
def test_no_field_is_unknown_to_the_schema(number: str) -> None:
    assert crds.undeclared(version(number)) == []
