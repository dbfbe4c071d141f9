"""A spec is read once, and again when it has changed, however it says so."""

from copy import deepcopy
from typing import Any

import pytest

from serin.api.fields import InvalidSpec
from serin.api.notifications import Happening, Receiver
from serin.api.spec import ModelDeployment
from serin.controller.specs import Specs
from tests.narratives.world import World, spec


def body() -> dict[str, Any]:
    found = World(spec=spec("1")).body
    found["metadata"]["generation"] = 3
    return deepcopy(found)


def again(specs: Specs, **changed: Any) -> ModelDeployment:
    """The same deployment in another object, as each event brings one."""
    other = body()
    other["spec"] |= changed
    return specs.read(other)


def test_a_spec_is_read_once_and_the_rest_each_time() -> None:
    specs = Specs()
    first, other = specs.read(body()), body()
    other["metadata"] |= {"resourceVersion": "77", "annotations": {"serin.dev/pause": "yes"}}
    second = specs.read(other)
    assert second.spec is first.spec
    assert (second.resource_version, second.annotations) == ("77", {"serin.dev/pause": "yes"})


def test_a_spec_of_the_same_generation_that_differs_is_read() -> None:
    """As after a restore of etcd from a backup."""
    specs = Specs()
    specs.read(body())
    assert again(specs, replicas=7).spec.replicas == 7
    assert again(specs).spec.replicas == body()["spec"]["replicas"]


def test_one_and_true_are_not_the_same_content() -> None:
    specs = Specs()
    before, after = body(), body()
    before["spec"]["template"]["spec"]["containers"][0]["tty"] = True
    after["spec"]["template"]["spec"]["containers"][0]["tty"] = 1
    after["metadata"]["generation"] += 1
    assert specs.read(before).spec.hashes != specs.read(after).spec.hashes


def test_a_spec_that_cannot_work_is_refused_each_time_and_is_nobodys_last() -> None:
    specs = Specs()
    good = specs.read(body())
    for _ in range(2):
        with pytest.raises(InvalidSpec):
            again(specs, config={"a-b": "1", "a_b": "2"})
    assert specs.read(body()).spec == good.spec


def test_whoever_is_told_of_all_is_told_as_if_the_spec_named_them_and_it_goes_first() -> None:
    rolled_back, promoted = frozenset({Happening.ROLLED_BACK}), frozenset({Happening.PROMOTED})
    everybody = {"shop": (Receiver("chat", rolled_back), Receiver("oncall", rolled_back))}
    specs = Specs(lambda namespace: everybody.get(namespace, ()))
    named = [{"webhook": {"name": "chat"}, "events": ["Promoted"]}]
    first = again(specs, notifications=named)
    assert first.spec.notifications == (Receiver("chat", promoted), Receiver("oncall", rolled_back))
    assert again(specs, notifications=named).spec is first.spec, "it is read once"
    assert again(specs).spec.notifications == everybody["shop"]
    assert again(Specs()).spec.notifications == ()


def test_nothing_is_kept_of_what_is_gone() -> None:
    specs = Specs()
    first = specs.read(body())
    specs.forget(first.key)
    assert specs.read(body()).spec is not first.spec
