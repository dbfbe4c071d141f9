"""Observations: what the cache holds as the planner sees it, with the newest tick folded into the evidence."""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest

from serin.analysis.types import Arm, NoData, RatioTick
from serin.api import names
from serin.api.capabilities import Capability
from serin.api.conditions import Reason
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.times import rfc3339
from serin.api.verdicts import Verdict
from serin.cluster import kinds
from serin.controller.observe import Observer
from serin.evaluation.evaluate import Assessment
from serin.evaluation.samples import SPLIT
from serin.metrics.catalog import Catalog
from serin.metrics.enforced import Trust
from serin.rollout.assess import assess
from serin.rollout.model import Observation, Preview
from serin.routers.base import Router
from serin.workload import render
from tests.catalog import CATALOG
from tests.unit.controller.test_evidence_loop import NOW, Bench, at_step, deployment
from tests.unit.routers.dummy import Dummy
from tests.unit.routers.test_routed_model import endpoint_slice, pod

ROUTERS = {"envoy": Dummy("envoy")}


def observe(bench: Bench, body: JsonObject) -> Observation:
    return observer_of(bench).observe(body, NOW)


def observer_of(bench: Bench, routers: Mapping[str, Router] = ROUTERS, catalog: Catalog = CATALOG) -> Observer:
    """What looks at the bench's cache."""
    return Observer(bench.cache, routers, bench.loop, bench.traffic_estimator, bench.pod_checks, catalog=catalog)


def judged(bench: Bench, body: JsonObject) -> Assessment:
    return assess(observe(bench, body))


def keep(body: JsonObject, found: Assessment) -> None:
    """Write the evidence into the status."""
    body["status"]["arms"][0]["evidence"] = dict(found.evidence["fraud-b"])


def verdicts(found: Assessment) -> dict[str, Verdict]:
    return {one.metric: one.verdict for one in found.verdicts["fraud-b"]}


async def test_a_tick_becomes_evidence_and_a_verdict_and_is_counted_once() -> None:
    body = deployment()
    bench = Bench(body)
    bench.prometheus.answers["errors"] = RatioTick(NOW - 5, Arm(200, 100), Arm(2000, 20))
    await bench.tick()
    first = judged(bench, body)
    assert verdicts(first)["errors"] is Verdict.FAIL_CRITICAL
    [errors] = [one for one in first.verdicts["fraud-b"] if one.metric == "errors"]
    assert errors.requests == 200
    # The same look again, before and after its evidence is written, counts nothing twice.
    assert judged(bench, body) == first
    keep(body, first)
    again = judged(bench, body)
    assert again.evidence["fraud-b"]["errors"] == first.evidence["fraud-b"]["errors"]
    assert verdicts(again)["errors"] is Verdict.FAIL_CRITICAL


async def test_no_data_keeps_the_evidence_and_says_why() -> None:
    body = deployment()
    bench = Bench(body)
    bench.prometheus.answers["errors"] = RatioTick(NOW - 5, Arm(50, 1), Arm(500, 9))
    await bench.tick()
    keep(body, judged(bench, body))
    bench.prometheus.answers["errors"] = NoData(Reason.PROMETHEUS_UNREACHABLE, "no answer")
    await bench.tick()
    found = judged(bench, body)
    assert found.evidence["fraud-b"]["errors"] == body["status"]["arms"][0]["evidence"]["errors"]
    [errors] = [one for one in found.verdicts["fraud-b"] if one.metric == "errors"]
    assert (errors.verdict, errors.reason) == (Verdict.NO_DATA, "PrometheusUnreachable")


async def test_a_restarted_operator_judges_from_the_evidence_alone() -> None:
    body = deployment()
    bench = Bench(body)
    bench.prometheus.answers["errors"] = RatioTick(NOW - 5, Arm(200, 100), Arm(2000, 20))
    await bench.tick()
    keep(body, judged(bench, body))
    assert verdicts(judged(Bench(body), body))["errors"] is Verdict.FAIL_CRITICAL


def test_without_a_candidate_there_is_no_evidence() -> None:
    body = deployment()
    del body["status"]["arms"]
    assert judged(Bench(body), body) == Assessment()


def test_a_metric_template_that_does_not_exist_is_named_until_it_does() -> None:
    body = deployment()
    body["spec"]["metrics"][0]["template"] = {"name": "absent"}
    bench = Bench(body)
    invalid = observe(bench, body).invalid
    assert invalid is not None
    assert invalid[0] is Reason.METRIC_TEMPLATE_NOT_FOUND
    assert "create a MetricTemplate of that name" in invalid[1]
    template: dict[str, Any] = {
        "metadata": {"namespace": "shop", "name": "absent", "uid": "t", "resourceVersion": "1"},
        "spec": {"ratio": {"bad": "b{ {{.version}} }", "total": "t{ {{.version}} }"}},
    }
    bench.cache.put(kinds.METRIC_TEMPLATE, template)
    assert observe(bench, body).invalid is None


def test_a_query_where_users_may_write_none_is_an_invalid_spec() -> None:
    body = deployment()
    body["spec"]["metrics"][0] = {"name": "own", "ratio": {"bad": "b{ {{.version}} }", "total": "t{ {{.version}} }"}}
    body["spec"]["metrics"][0]["severity"] = "major"
    bench = Bench(body)
    assert observe(bench, body).invalid is None
    catalog = Catalog(CATALOG.templates, trust=Trust(user_queries=False))
    observer = observer_of(bench, catalog=catalog)
    invalid = observer.observe(body, NOW).invalid
    assert invalid is not None
    assert invalid[0] is Reason.INVALID_SPEC
    assert "metric own: queries of users are switched off in this cluster" in invalid[1]


def test_a_refused_pod_template_is_seen_by_its_own_deployment_only() -> None:
    body = deployment("fraud")
    bench = Bench(body)
    observer = observer_of(bench)
    wanted = observer.observe(body, NOW).wanted
    observer.refusals.add(("shop", "fraud"), wanted, "unknown field", NOW)
    observer.refusals.add(("shop", "fraud"), "fraud-of-yesterday", "is tried no longer", NOW)
    observer.refusals.add(("shop", "fraud-eu"), wanted, "another deployment's", NOW)
    found = observer.observe(body, NOW).workloads
    assert found.keys() == {wanted}
    assert (found[wanted].refused, found[wanted].problem) == (True, "unknown field")


def test_a_ready_pod_counts_when_the_endpoints_list_it() -> None:
    body = deployment()
    bench = Bench(body)
    labels = {"serin.dev/model-deployment": "fraud", "serin.dev/snapshot": "fraud-b"}
    owned = {"labels": labels, "ownerReferences": [{"uid": "uid-fraud", "controller": True}]}
    times = {"creationTimestamp": "2027-01-15T07:59:00Z"}
    place = {"namespace": "shop", "name": "fraud-b", "uid": "w", "resourceVersion": "1"}
    bench.cache.put(
        kinds.DEPLOYMENT, {"metadata": place | owned | times, "spec": {"replicas": 2, "template": {"spec": {}}}}
    )
    for number in (1, 2):
        place = {"namespace": "shop", "name": f"fraud-b-{number}", "uid": f"p{number}", "resourceVersion": "1"}
        ready = {"podIP": f"10.0.0.{number}", "conditions": [{"type": "Ready", "status": "True"}]}
        created = {"creationTimestamp": "2027-01-15T08:00:00Z"}
        bench.cache.put(kinds.POD, {"metadata": place | created | {"labels": labels}, "status": ready})
    assert observe(bench, body).workloads["fraud-b"].ready == 0, "the router knows neither"
    endpoints = endpoint_slice("fraud-b", pod("10.0.0.2", ready=True))
    endpoints["metadata"] |= {"namespace": "shop", "uid": "e", "resourceVersion": "1"}
    bench.cache.put(kinds.ENDPOINT_SLICE, endpoints)
    assert observe(bench, body).workloads["fraud-b"].ready == 1


async def test_what_stable_pods_differ_by_weakens_the_evidence() -> None:
    found = []
    for phi in (1.0, 4.0):
        body = deployment()
        bench = Bench(body)
        bench.prometheus.answers["errors"] = RatioTick(NOW - 5, Arm(50, 5), Arm(500, 10))
        bench.prometheus.dispersions = {"errors": phi}
        await bench.tick()
        [errors] = [one for one in judged(bench, body).verdicts["fraud-b"] if one.metric == "errors"]
        found.append(errors.log_e)
    assert found[0] > found[1] > 0


async def test_the_split_is_weighed_beside_the_metrics() -> None:
    body = at_step(NOW - 100)
    bench = Bench(body)
    bench.prometheus.answers["Split"] = RatioTick(NOW - 5, Arm(600, 0), Arm(600, 0))
    await bench.tick()
    found = judged(bench, body)
    assert found.split is not None
    assert (found.split.verdict, found.split.reason) == (Verdict.FAIL_MINOR, "SplitNotAsRouted")
    assert "received 50.0%, 50.0% of 1,200 requests where the weights are 75%, 25%" in found.split.message
    assert SPLIT not in verdicts(found), "it is no metric of the user's"
    keep(body, found)
    assert judged(Bench(body), body).split == found.split, "a restart forgets nothing"


async def test_a_sample_that_began_under_other_weights_says_nothing_about_these() -> None:
    bench = Bench(at_step(NOW - 100), interval=5.0)
    await bench.tick()
    assert judged(bench, at_step(NOW - 1)).split is None


async def test_a_sample_of_an_earlier_rollout_of_the_same_snapshot_counts_for_nothing() -> None:
    """A retry begins while the last sample of the rollout that failed is still there."""
    body = deployment()
    bench = Bench(body)
    bench.prometheus.answers["errors"] = RatioTick(NOW - 5, Arm(200, 100), Arm(2000, 20))
    await bench.tick()
    body["status"]["candidate"]["since"] = rfc3339(NOW - 1)
    assert verdicts(judged(bench, body))["errors"] is Verdict.NO_DATA


MATCH = {"headers": {"x-beta": "true"}, "cookies": {"group": "beta"}}


@pytest.mark.parametrize(
    ("missing", "path"),
    [
        (Capability.HEADERS, "spec.strategy.canary.steps[0].match"),
        (Capability.COOKIES, "spec.strategy.canary.steps[0].match"),
        (Capability.WEIGHTS, "spec.strategy.canary"),
        (Capability.MIRROR, "spec.strategy.canary.steps[1].mirror"),
        (Capability.FALLBACK, "spec.fallback"),
        (Capability.GUARD, "spec.guard"),
    ],
)
def test_what_the_router_cannot_do_is_refused_before_anything_begins(missing: Capability, path: str) -> None:
    body = deployment()
    steps = [{"match": MATCH, "bake": "1m"}, {"mirror": 20, "bake": "1m"}, {"weight": 50, "bake": "1m"}]
    body["spec"]["strategy"] = {"canary": {"steps": steps}}
    body["spec"]["fallback"] = {"answer": {"status": 200, "contentType": "text/plain", "body": ""}}
    body["spec"]["guard"] = {"output": {"protocol": "JSON", "checks": [{"path": "score", "finite": True}]}}
    bench, router = Bench(body), Dummy("envoy")
    observer = observer_of(bench, {"envoy": router})
    assert observer.observe(body, NOW).invalid is None
    router.capabilities = frozenset(Capability) - {missing}
    with pytest.raises(InvalidSpec, match=rf"^{re.escape(path)}: the router envoy .* cannot {missing}: write another"):
        observer.observe(body, NOW)


@pytest.mark.parametrize("mine", [True, False])
def test_the_previews_service_is_left_alone_when_it_is_somebody_elses(mine: bool) -> None:
    body = deployment()
    bench = Bench(body)
    owner = names.owner_reference("fraud", body["metadata"]["uid"] if mine else "another")
    metadata = {"namespace": "shop", "name": "fraud-preview", "uid": "u", "ownerReferences": [owner]}
    metadata |= {"resourceVersion": "7"}
    selector = {names.LABEL_SNAPSHOT: "fraud-b"}
    bench.cache.put(kinds.SERVICE, {"metadata": metadata, "spec": {"selector": selector}})
    assert observe(bench, body).preview == Preview("u", "fraud-b", not_ours=not mine)


def test_a_shadow_is_refused_where_the_router_copies_nothing_and_needs_nothing_else() -> None:
    body = deployment()
    body["spec"]["strategy"] = {"shadow": {"mirror": 20, "bake": "1m", "then": "Promote"}}
    bench, router = Bench(body), Dummy("envoy", capabilities=frozenset({Capability.MIRROR}))
    observer = observer_of(bench, {"envoy": router})
    assert observer.observe(body, NOW).invalid is None
    router.capabilities = frozenset(Capability) - {Capability.MIRROR}
    with pytest.raises(InvalidSpec, match=r"^spec\.strategy\.shadow\.mirror: the router envoy .* cannot send copies"):
        observer.observe(body, NOW)


def test_what_this_installation_lacks_holds_a_rollout_and_nothing_else() -> None:
    body = deployment()
    seen = observer_of(Bench(body), {"envoy": Dummy("envoy", lacks="there is no guard")}).observe(body, NOW)
    assert seen.invalid == (Reason.INVALID_SPEC, "there is no guard")


PORT = {"name": "extra", "port": 9090, "targetPort": 9090, "protocol": "TCP"}
# What somebody writes into a snapshot's Service (spec) or Deployment, and whether it is a field that Serin sets.
WRITTEN: dict[str, tuple[bool, Callable[[JsonObject], object]]] = {
    "a label": (False, lambda body: body["metadata"]["labels"].update(team="risk")),
    "another owner": (False, lambda body: body["metadata"]["ownerReferences"].append({"kind": "Team", "uid": "t"})),
    "a port": (False, lambda body: body["spec"].setdefault("ports", []).append(PORT)),
    "a field of its own": (False, lambda body: body["spec"].update(publishNotReadyAddresses=True, minReadySeconds=1)),
    "the size": (False, lambda body: body["spec"].update(replicas=7)),
    "the selector": (True, lambda body: body["spec"].update(selector={"serin.dev/snapshot": "another"})),
    "the owner's name": (True, lambda body: body["metadata"]["ownerReferences"][0].update(name="another")),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_others_have_written_of_serins_own_is_seen(case: str) -> None:
    ours, write = WRITTEN[case]
    body = deployment()
    bench, owner = Bench(body), render.Owner("shop", "fraud", "uid-fraud")
    template = body["spec"]["template"]
    content: JsonObject = {"runtime": {"template": template, "runtime": "generic", "port": 8080}}
    place = {"namespace": "shop", "name": "fraud-b", "resourceVersion": "1", "creationTimestamp": rfc3339(NOW)}
    owned = {
        "labels": {"serin.dev/model-deployment": "fraud"},
        "ownerReferences": [names.owner_reference("fraud", owner.uid)],
    }
    record = {"metadata": place | owned | {"uid": "m"}, "spec": {"content": content, "hashes": {}}}
    bench.cache.put(kinds.MODEL_SNAPSHOT, record)
    for kind, rendered in (
        (kinds.SERVICE, render.service(owner, "fraud-b", content)),
        (kinds.DEPLOYMENT, render.deployment(owner, "fraud-b", content, replicas=2, role="candidate")),
    ):
        stored = deepcopy(rendered)
        stored["metadata"] |= place | {"uid": kind.name}
        write(stored)
        bench.cache.put(kind, stored)
    seen = observe(bench, body)
    assert (seen.altered_services, seen.workloads["fraud-b"].altered) == (frozenset({"fraud-b"} if ours else ()), ours)
