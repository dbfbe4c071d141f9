"""What users may set for Envoy."""

from typing import Any

import pytest

from serin.api.fields import InvalidSpec
from serin.routers.envoy.settings import EnvoySettings, EventStreams, Shield, read_settings, with_defaults
from tests.unit.api.test_parse import documents, smallest, stored


def defaulted() -> dict[str, Any]:
    settings: dict[str, Any] = smallest()["router"]["envoy"]
    return settings


def test_the_defaults_of_the_schema_are_those_of_the_type() -> None:
    assert read_settings(defaulted()) == EnvoySettings()
    assert with_defaults({}) == defaulted()


def test_every_setting() -> None:
    sample = stored(documents("canary.yaml")[0])["spec"]["router"]["envoy"]
    assert read_settings(sample) == EnvoySettings(hedge_after=2.0)
    found = read_settings({"shield": "Off", "eventStreams": "Read"})
    assert found == EnvoySettings(Shield.OFF, None, EventStreams.READ)


@pytest.mark.parametrize("missing", ["shield", "eventStreams"])
def test_an_object_from_before_a_default_existed_says_to_apply_it_again(missing: str) -> None:
    settings = defaulted()
    del settings[missing]
    with pytest.raises(InvalidSpec, match=rf"^spec\.router\.envoy\.{missing} is missing: apply the ModelDeployment"):
        read_settings(settings)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shield": "Sometimes"}, "shield: 'Sometimes' is unknown: write one of Failures, Unsent, Off"),
        ({"eventStreams": "Seen"}, "eventStreams: 'Seen' is unknown: write one of Opaque, Read"),
        ({"hedgeAfter": "soon"}, "hedgeAfter: 'soon' is no duration: write"),
    ],
)
def test_what_cannot_be_read_names_its_field_and_what_to_write(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        read_settings(defaulted() | changed)
    assert str(refused.value).startswith(f"spec.router.envoy.{message}")
