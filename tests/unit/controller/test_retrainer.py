"""Who carries out retrainings: one Job or one event for each, whatever goes wrong, and nobody waits for anybody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from serin.api.json import JsonObject
from serin.api.names import LABEL_MODEL_DEPLOYMENT, owner_reference
from serin.api.parse import parse_model_deployment
from serin.api.retraining import Cause, Retraining, RetrainingSeen, Run, RunPhase, Trigger, write_retraining
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Conflict, Gone, Kind, Refused, Retryable
from serin.controller.retrainer import Retrainer
from serin.controller.webhooks import Format, NotTaken, Webhook
from tests.narratives.retrainings import JOB
from tests.narratives.world import spec
from tests.unit.background import in_background
from tests.unit.jumping_time import in_jumping_time, now

NAME = "fraud-retrain-1"
CAUSE = Cause(Trigger.DRIFT, "both have moved: $(HOME) costs $5", "fraud-a", model="1", since=1.7e9, until=1.7e9 + 60)
DAY = 24 * 3600.0


def deployment(namespace: str = "shop", run: str = NAME, *, generation: int = 1, **asked: Any) -> JsonObject:
    """A ModelDeployment whose retraining is decided; `asked`: of spec.retraining."""
    begun = asked or {"job": JOB}
    kept = Retraining(1.7e9, 1, Run(run, CAUSE, 1.7e9, webhook=begun.get("webhook", {}).get("name", "")))
    metadata = {"namespace": namespace, "name": "fraud", "uid": f"uid-{namespace}", "resourceVersion": str(generation)}
    retraining = {"triggers": [{"drift": {}}], "cooldown": "1h", **begun}
    return {
        "metadata": {**metadata, "generation": generation},
        "spec": spec(retraining=retraining),
        "status": {"retraining": write_retraining(kept)},
    }


class ApiServer:
    """Keeps the rules of names; `error` is raised in place of an answer, `hangs` keeps a namespace's requests."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], JsonObject] = {}
        self.asked: list[tuple[str, str, float]] = []
        self.error: Exception | None = None
        self.answer_is_lost = False
        self.hangs = ""

    async def create(self, body: JsonObject) -> JsonObject:
        key = body["metadata"]["namespace"], body["metadata"]["name"]
        self.asked.append((*key, now()))
        if self.hangs == key[0]:
            await asyncio.sleep(DAY)
        if self.error:
            raise self.error
        if key in self.jobs:
            raise Conflict("jobs.batch already exists", 409)
        metadata = {**body["metadata"], "uid": "uid-job", "resourceVersion": "1"}
        self.jobs[key] = {**body, "metadata": metadata}
        if self.answer_is_lost:
            raise Retryable("no answer")
        return self.jobs[key]

    async def get(self, _kind: Kind, namespace: str, name: str) -> JsonObject:
        if (namespace, name) not in self.jobs:
            raise Gone("not found", 404)
        return self.jobs[namespace, name]


class Rig:
    def __init__(self, *bodies: JsonObject, webhooks: tuple[Webhook, ...] = ()) -> None:
        self.cache, self.server, self.looks = ObjectCache(), ApiServer(), list[tuple[str, str]]()
        self.events: list[tuple[str, JsonObject, float]] = []
        self.leads, self.refuses = True, ""
        for body in bodies:
            self.cache.put(kinds.MODEL_DEPLOYMENT, body)
        self.retrainer = Retrainer(
            self.server,  # type: ignore[arg-type]
            self.cache,
            self.looks.append,
            lambda: self.leads,
            {one.name: one for one in webhooks},
            clock=now,
            send=self.send,
        )

    async def send(self, webhook: Webhook, event: JsonObject) -> None:
        self.events.append((webhook.name, event, now()))
        if self.refuses:
            raise NotTaken(self.refuses)

    def seen(self, namespace: str = "shop") -> RetrainingSeen:
        body = self.cache.get(kinds.MODEL_DEPLOYMENT, namespace, "fraud")
        assert body is not None
        one = parse_model_deployment(body)
        run = read_run(body)
        return self.retrainer.seen(one, run)


def read_run(body: JsonObject) -> Run:
    run = body["status"]["retraining"]["run"]
    return Run(run["name"], CAUSE, 1.7e9, RunPhase(run["phase"]), webhook=run.get("webhook", ""))


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    async with in_background(rig.retrainer.run()):
        try:
            yield rig
        finally:
            rig.retrainer.close()


@in_jumping_time
async def test_a_job_is_made_with_its_cause() -> None:
    async with running(Rig(deployment())) as rig:
        await asyncio.sleep(1.0)
        [job] = rig.server.jobs.values()
        assert job["metadata"]["labels"] == {LABEL_MODEL_DEPLOYMENT: "fraud"}
        assert job["metadata"]["ownerReferences"] == [owner_reference("fraud", "uid-shop")]
        assert rig.looks == [("shop", "fraud")]
        seen = rig.seen()
        assert seen.job is not None
        assert (seen.job.uid, seen.job.succeeded, seen.problem) == ("uid-job", None, "")
        await asyncio.sleep(DAY)
        assert len(rig.server.asked) == 1


@in_jumping_time
async def test_a_job_whose_answer_was_lost_is_found_and_not_made_again() -> None:
    async with running(Rig(deployment())) as rig:
        rig.server.answer_is_lost = True
        await asyncio.sleep(60.0)
        assert len(rig.server.jobs) == 1
        assert len(rig.server.asked) == 2
        assert rig.seen().job is not None


@in_jumping_time
async def test_a_new_leader_makes_none_again() -> None:
    async with running(Rig(deployment())) as rig:
        await asyncio.sleep(1.0)
    later = Rig(deployment())
    later.server = rig.server
    for job in rig.server.jobs.values():
        later.cache.put(kinds.JOB, job)
    later.retrainer._cluster = rig.server  # type: ignore[assignment]
    async with running(later):
        await asyncio.sleep(60.0)
        assert len(rig.server.asked) == 1
        assert later.seen().job is not None


@in_jumping_time
async def test_a_spec_that_cannot_be_read_has_to_be_mended_first() -> None:
    broken = deployment()
    del broken["spec"]["retraining"]["job"]
    async with running(Rig(broken)) as rig:
        await asyncio.sleep(600.0)
        assert (rig.server.asked, rig.looks) == ([], []), "its own look says what is wrong"
        rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment(generation=2))
        await asyncio.sleep(1.0)
        assert rig.seen().job is not None


@in_jumping_time
async def test_nothing_is_kept_once_the_status_says_it() -> None:
    async with running(Rig(deployment())) as rig:
        await asyncio.sleep(1.0)
        assert rig.retrainer._outcomes
        runs = deployment(generation=2)
        runs["status"]["retraining"]["run"]["phase"] = "Running"
        rig.cache.put(kinds.MODEL_DEPLOYMENT, runs)
        assert rig.retrainer._outcomes == {}
        assert ("shop", "fraud") not in rig.retrainer._due


@in_jumping_time
async def test_whose_term_is_over_hears_of_no_change() -> None:
    rig = Rig()
    rig.retrainer.close()
    rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment())
    assert ("shop", "fraud") not in rig.retrainer._due


@in_jumping_time
async def test_who_does_not_lead_makes_none() -> None:
    rig = Rig(deployment())
    rig.leads = False
    async with running(rig):
        await asyncio.sleep(60.0)
        assert rig.server.asked == []


@in_jumping_time
async def test_a_job_of_somebody_else_is_left_alone_and_told() -> None:
    rig = Rig(deployment())
    theirs = {"metadata": {"namespace": "shop", "name": NAME, "uid": "x", "resourceVersion": "1"}}
    rig.server.jobs["shop", NAME] = theirs
    async with running(rig):
        await asyncio.sleep(1.0)
        assert rig.seen().job is None
        assert "that Serin did not make" in rig.seen().problem
        assert rig.server.jobs["shop", NAME] is theirs


@in_jumping_time
async def test_what_is_refused_is_tried_again_later_each_time_and_at_once_after_an_edit() -> None:
    async with running(Rig(deployment())) as rig:
        rig.server.error = Refused("exceeded quota: pods", 403)
        await asyncio.sleep(3600.0)
        pauses = [later[2] - earlier[2] for earlier, later in zip(rig.server.asked, rig.server.asked[1:], strict=False)]
        assert pauses[0] < 6.0
        assert max(pauses) <= 301.0
        assert len(rig.server.asked) < 25
        assert rig.seen().problem == "exceeded quota: pods"
        rig.server.error = None
        rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment(generation=2))
        await asyncio.sleep(1.0)
        assert rig.seen().job is not None
        assert rig.seen().problem == ""


@in_jumping_time
async def test_a_change_of_the_status_is_no_reason_to_try_again_before_its_time() -> None:
    async with running(Rig(deployment())) as rig:
        rig.server.error = Refused("exceeded quota: pods", 403)
        await asyncio.sleep(1000.0)
        tried = len(rig.server.asked)
        for version in range(2, 12):
            body = deployment()
            body["metadata"]["resourceVersion"] = str(version)
            rig.cache.put(kinds.MODEL_DEPLOYMENT, body)
            await asyncio.sleep(1.0)
        assert len(rig.server.asked) <= tried + 1


@in_jumping_time
async def test_an_edit_that_comes_while_it_is_tried_is_tried_at_once_afterwards() -> None:
    rig = Rig(deployment())
    rig.server.hangs, rig.server.error = "shop", Refused("exceeded quota: pods", 403)
    async with running(rig):
        await asyncio.sleep(1.0)
        rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment(generation=2))
        await asyncio.sleep(DAY)
        [(_, _, first), (_, _, second)] = rig.server.asked
        assert second - first - DAY < 1.0


@in_jumping_time
async def test_a_namespace_that_hangs_holds_up_no_other() -> None:
    others = [deployment("shop", f"fraud-retrain-{number}") for number in range(5)]
    for number, one in enumerate(others):
        one["metadata"]["name"] = f"fraud-{number}"
    rig = Rig(*others, deployment("bank"))
    rig.server.hangs = "shop"
    async with running(rig):
        await asyncio.sleep(1.0)
        assert [place for place, _, _ in rig.server.asked] == ["shop", "shop", "bank"] or len(rig.server.asked) == 3
        assert ("bank", NAME) in rig.server.jobs


@in_jumping_time
async def test_a_webhook_gets_a_cloud_event_once() -> None:
    hook = Webhook("pipelines", "http://pipelines.test")
    async with running(Rig(deployment(webhook={"name": "pipelines"}), webhooks=(hook,))) as rig:
        await asyncio.sleep(1.0)
        [(name, event, _)] = rig.events
        assert name == "pipelines"
        required = {"specversion": "1.0", "id": NAME, "type": "serin.dev.retraining.requested"}
        assert required.items() <= event.items()
        assert event["source"] == "/apis/serin.dev/v1alpha1/namespaces/shop/modeldeployments/fraud"
        assert event["data"]["trigger"] == "Drift"
        assert event["data"]["snapshot"] == "fraud-a"
        assert rig.seen().delivered
        rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment(webhook={"name": "pipelines"}, generation=2))
        await asyncio.sleep(DAY)
        assert len(rig.events) == 1


@in_jumping_time
async def test_a_webhook_that_takes_nothing_is_tried_again_with_the_same_id() -> None:
    hook = Webhook("pipelines", "http://pipelines.test")
    rig = Rig(deployment(webhook={"name": "pipelines"}), webhooks=(hook,))
    rig.refuses = "it answers with status 503"
    async with running(rig):
        await asyncio.sleep(20.0)
        assert {event["id"] for _, event, _ in rig.events} == {NAME}
        assert len(rig.events) > 1
        assert rig.seen().problem == "webhook pipelines: it answers with status 503"
        rig.refuses = ""
        await asyncio.sleep(60.0)
        assert rig.seen().delivered


@in_jumping_time
async def test_only_webhooks_of_the_platform_and_of_the_namespace_are_sent_to() -> None:
    hooks = (Webhook("pipelines", "http://x.test", frozenset({"bank"})), Webhook("open", "http://y.test"))
    async with running(Rig(deployment(webhook={"name": "pipelines"}), webhooks=hooks)) as rig:
        await asyncio.sleep(1.0)
        assert rig.events == []
        assert rig.seen().problem == "no webhook pipelines is set up for this namespace (there are: open)"


@in_jumping_time
async def test_a_webhook_of_another_format_is_none_for_a_retraining() -> None:
    hook = Webhook("chat", "http://chat.test", format=Format.SLACK)
    async with running(Rig(deployment(webhook={"name": "chat"}), webhooks=(hook,))) as rig:
        await asyncio.sleep(1.0)
        assert rig.events == []
        assert rig.seen().problem == "webhook chat takes no CloudEvents (Slack): name one that does"


@in_jumping_time
async def test_a_retraining_that_is_over_is_not_carried_out() -> None:
    body = deployment()
    body["status"]["retraining"]["run"]["phase"] = "Succeeded"
    async with running(Rig(body)) as rig:
        await asyncio.sleep(60.0)
        assert rig.server.asked == []
        assert rig.looks == []
