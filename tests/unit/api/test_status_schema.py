"""Everything that the planner writes into a status is known to the schema, and the other way round.

A field that the schema does not know makes the API server refuse the whole status, and with it the route. The stories
are all that can happen to a deployment, so they are asked for what they write.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests import crds
from tests.narratives.film import played
from tests.narratives.stories import Story, named

pytestmark = pytest.mark.stories


@cache
def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(crds.schema(kind)["properties"]["status"])


@cache
def valid(kind: str) -> set[tuple[str, str]]:
    """Fields of a status that have passed, each with its value: most writes of a story change one field.

    To check all of them every time takes longer than to play the story. The schema of a status has rules for each of
    its fields, and none for several.
    """
    assert crds.schema(kind)["properties"]["status"].keys() <= {"description", "type", "properties"}
    return set()


def written(story: Story) -> tuple[tuple[str, dict[str, Any]], ...]:
    return played(story).written


@pytest.mark.parametrize("story", [pytest.param(story, id=name) for name, story in named()])
def test_every_status_is_as_the_schema_says(story: Story) -> None:
    assert written(story)
    for kind, status in written(story):
        texts = {name: json.dumps(value, sort_keys=True) for name, value in status.items()}
        new = {name: status[name] for name, text in texts.items() if (name, text) not in valid(kind)}
        assert [path for path in crds.undeclared({"kind": kind, "status": new}) if "router" not in path] == []
        validator(kind).validate(new)
        valid(kind).update(texts.items())


@pytest.mark.parametrize("story", [pytest.param(story, id=name) for name, story in named()])
def test_no_map_becomes_empty(story: Story) -> None:
    """A server-side apply would store null in its place, which the schema refuses, and with it the whole status."""
    for kind, status in written(story):
        if kind == "ModelDeployment":
            assert [path for path in _empty(status) if path != "traffic.weights"] == []


def _empty(value: Any, path: str = "") -> Iterator[str]:
    if value == {}:
        yield path
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from _empty(item, f"{path}.{name}".lstrip("."))
    for item in value if isinstance(value, list) else ():
        yield from _empty(item, path)


@pytest.mark.parametrize("kind", ["ModelDeployment", "ModelSnapshot"])
def test_every_field_of_the_schema_is_written_in_some_story(kind: str) -> None:
    used = {path for _, story in named() for one, status in written(story) if one == kind for path in _paths(status)}
    declared = set(_declared(crds.schema(kind)["properties"]["status"]))
    # The stories' router is none of those that the schema knows.
    elsewhere = {"router.envoy", "router.envoy.port", "router.envoy.servicePort"}
    assert declared - used - elsewhere == set()


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            inner = f"{path}.{name}".lstrip(".")
            yield inner
            yield from _paths(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, path)


def _declared(part: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, inner in part.get("items", part).get("properties", {}).items():
        yield f"{path}.{name}".lstrip(".")
        yield from _declared(inner, f"{path}.{name}".lstrip("."))
