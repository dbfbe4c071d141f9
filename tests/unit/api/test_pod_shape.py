"""Whatever stands in a pod template, it is refused in words or its pods are rendered: nothing ends a look."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from serin.api.fields import InvalidSpec
from serin.api.parse import parse_spec
from serin.workload import render
from tests.narratives.world import spec

OTHER_SHAPES: list[Any] = ["x", 5, None, [], {}, ["x"], {"a": "b"}, True, -1, [None], ""]


def full() -> dict[str, Any]:
    """A spec with a variant, whose template has all that Serin reads or adds to."""
    given = spec("1")
    given["template"]["metadata"] = {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    pod = given["template"]["spec"]
    pod["containers"][0].update(
        env=[{"name": "A", "value": "b"}],
        volumeMounts=[{"name": "v", "mountPath": "/x"}],
        lifecycle={"preStop": {"exec": {"command": ["/bin/sh", "-c", "x"]}}},
        readinessProbe={"httpGet": {"path": "/", "port": 8080}},
    )
    pod["containers"].append({"name": "s", "image": "x", "ports": [{"name": "grpc", "containerPort": 9000}]})
    pod["initContainers"] = [{"name": "i", "image": "x", "restartPolicy": "Always", "env": [{"name": "A"}]}]
    pod["volumes"] = [{"name": "v", "emptyDir": {}}]
    pod["terminationGracePeriodSeconds"] = 30
    given["config"] = {"threshold": "1"}
    return given


def with_variant(template: Any) -> dict[str, Any]:
    variant = {"name": "b", "model": {"name": "m", "version": "9"}, "template": template}
    return full() | {"strategy": {"abTest": {"variants": [variant], "weight": 20}}}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from paths(item, (*path, key))


def rendered(given: dict[str, Any]) -> bool:
    """Whether all versions that it describes can be rendered; else it was refused."""
    try:
        parsed = parse_spec(given, "fraud")
    except InvalidSpec:
        return False
    for content in (parsed.content, *(one.content for one in parsed.variants)):
        owner = render.Owner("shop", "fraud", "uid")
        render.deployment(owner, "fraud-x", content, replicas=1, role="stable")
    return True


@pytest.mark.parametrize("place", ["the spec", "a variant"])
@pytest.mark.parametrize(
    "path", [one for one in paths(full()["template"]) if one], ids=lambda one: ".".join(map(str, one))
)
def test_a_field_of_another_shape(path: tuple[Any, ...], place: str) -> None:
    for value in OTHER_SHAPES:
        given = full()
        template = given["template"] if place == "the spec" else copy.deepcopy(given["template"])
        part = template
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        rendered(given if place == "the spec" else with_variant(template))


def test_as_it_is_it_can_be_rendered() -> None:
    assert rendered(full())
    assert rendered(with_variant({"spec": {"volumes": None}}))


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        ({"volumes": {"name": "v"}}, "spec.volumes: write a list as in a Deployment, not {'name': 'v'}"),
        ({"containers": None}, "spec.containers: write at least one container, the model server first"),
        ({"containers": [{"name": "model", "lifecycle": {"preStop": "sleep 5"}}]}, "preStop: write a map"),
        ({"initContainers": [{"name": "a", "env": {"A": "b"}}]}, "spec.initContainers[1].env: write a list"),
    ],
)
def test_what_to_write_instead_in_a_variant(pod: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_spec(with_variant({"spec": pod}), "fraud")
    assert "the template of variant b: " in str(refused.value)
    assert words in str(refused.value)
