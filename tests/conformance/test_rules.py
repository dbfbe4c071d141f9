"""The CRDs' schemas and rules: the same verdict, in the same words, for every mistake that tests/integration knows."""

from collections.abc import Iterable

import pytest
import yaml

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from tests.conformance.conftest import Play
from tests.conformance.harness import Api
from tests.integration.crds.cases import ACCEPTED, BUILT_IN_REFUSED, REFUSED, TEMPLATES_REFUSED
from tests.integration.crds.rig import SAMPLES, STATUS, documents, smallest
from tests.simulation.api import jsonpatch

MD, TEMPLATE = kinds.MODEL_DEPLOYMENT, kinds.METRIC_TEMPLATE
# Whatever is refused is asked for in groups, since a scenario of its own costs a namespace each.
GROUPS = 8


def share(cases: Iterable[str], group: int) -> list[str]:
    return sorted(cases)[group::GROUPS]


async def ask(api: Api, kind: Kind, body: JsonObject) -> int:
    """As kubectl asks, with unknown fields refused; and by server-side apply, as Serin and Argo CD do."""
    status, _ = await api.create(kind, body, strict=True)
    await api.apply(kind, {**body, "metadata": {"name": "iris", **body["metadata"]}})
    return status


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_mistake_is_refused_in_the_same_words(play: Play, group: int) -> None:
    async def scenario(api: Api) -> None:
        for case in share(REFUSED, group):
            assert await ask(api, MD, smallest("refused", REFUSED[case][0])) in (400, 422), case

    play(scenario)


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_mistake_is_refused_as_a_change_too(play: Play, group: int) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        for case in share(REFUSED, group):
            change = yaml.safe_load(REFUSED[case][0])
            if "metadata" not in change:
                await api.patch(MD, "iris", change)

    play(scenario)


def test_what_is_right_is_accepted(play: Play) -> None:
    async def scenario(api: Api) -> None:
        for number, case in enumerate(sorted(ACCEPTED)):
            body = smallest(f"accepted-{number}", ACCEPTED[case])
            assert (await api.create(MD, body, strict=True))[0] == 201, case

    play(scenario)


def test_metric_templates(play: Play) -> None:
    async def scenario(api: Api) -> None:
        for patch, _ in (TEMPLATES_REFUSED | BUILT_IN_REFUSED).values():
            body = jsonpatch.merge(documents("canary.yaml")[1], yaml.safe_load(patch))
            assert (await api.create(TEMPLATE, body, strict=True))[0] in (400, 422), patch

    play(scenario)


def test_samples(play: Play) -> None:
    async def scenario(api: Api) -> None:
        for path in sorted(SAMPLES.glob("*.yaml")):
            for number, body in enumerate(documents(path.name)):
                kind = kinds.of(body)
                body["metadata"]["name"] = f"{path.stem}-{kind.plural}-{number}"
                assert (await api.create(kind, body, strict=True))[0] == 201

    play(scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        {"traffic": {"weights": {"a": 101, "b": -1}}},
        {"traffic": {"weights": {"a": "5"}}},
        {"handled": {"serin.dev/retry": "x" * 1025}},
        {"draining": {f"s{index}": "2026-11-22T10:00:00Z" for index in range(17)}},
        {"message": "x" * 32769},
        {"message": None},
        {"candidate": None, "phase": "x"},
        {"metrics": [{"name": "a"}, {"verdict": "Pass"}]},
        {"metrics": [{"name": f"m{index}"} for index in range(33)]},
        {
            "conditions": [
                {"type": "Ready", "status": "Maybe", "reason": "", "message": "", "lastTransitionTime": "now"}
            ]
        },
        {"conditions": [{"type": "Ready"}]},
        {"step": {"index": 1.5, "since": "2026-11-22", "forced": "yes"}},
        {"evidence": {"errors": {"anything": [1, {"at": "all"}]}}},
        {"evidence": {f"m{index}": {} for index in range(33)}},
        {"candidate": {"changed": ["model", "model"]}},
        {"unknown": 1},
        {"step": {"unknown": 1}},
        {"stable": {"snapshot": "x" * 254, "ready": -1}},
        {"observedGeneration": -1},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_a_status_that_is_wrong(play: Play, wrong: JsonObject) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        await api.apply(MD, {"metadata": {"name": "iris"}, "status": STATUS}, subresource="status")
        await api.patch(MD, "iris", {"status": wrong}, subresource="status")
        await api.apply(MD, {"metadata": {"name": "iris"}, "status": wrong}, subresource="status")
        body = {**smallest("iris"), "status": wrong}
        body["metadata"]["resourceVersion"] = (await api.get(MD, "iris"))[1]["metadata"]["resourceVersion"]
        await api.replace(MD, body, subresource="status")

    play(scenario)
