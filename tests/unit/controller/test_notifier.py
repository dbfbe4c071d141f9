"""Real HTTP servers get the notifications: each once, whatever goes wrong, and nobody waits for anybody."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.notifications import Deliveries, Happening, Notification, Outbox, write_outbox
from serin.api.parse import parse_model_deployment
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.notification_formats import body_of
from serin.controller.notifier import Notifier
from serin.controller.settings import parse
from serin.controller.webhooks import Format, NotTaken, Webhook
from tests.narratives.world import spec
from tests.unit.background import in_background
from tests.unit.jumping_time import in_jumping_time, now

ONE = Notification("1", Happening.ROLLED_BACK, 1.7e9, "OverLimit", "errors: 4% <!channel>", "fraud-b", target="fraud-a")
TWO = replace(ONE, id="2", event=Happening.PROMOTED)


def deployment(
    pending: Iterable[Notification], *receivers: str, namespace: str = "shop", name: str = "fraud"
) -> JsonObject:
    """A ModelDeployment that has something to tell."""
    left = tuple(replace(one, receivers=receivers) for one in pending)
    metadata = {"namespace": namespace, "name": name, "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
    asked = [{"webhook": {"name": one}} for one in receivers]
    return {
        "metadata": metadata,
        "spec": spec(notifications=asked),
        "status": {"notifications": write_outbox(Outbox(left))} if left else {},
    }


class Server:
    """A receiver: what came, in order. `status`: its answer, by the event's id where it is a callable."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self.status: Callable[[str], int] = lambda _: 202
        self.hangs = asyncio.Event()
        self.hangs.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.came.append(await request.json())
        await self.hangs.wait()
        return web.Response(status=self.status(self.came[-1]["id"]))

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in self.came]


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, str]]:
    server = Server()
    app = web.Application()
    app.router.add_post("/", server.handle)
    async with TestServer(app) as listening:
        yield server, str(listening.make_url("/"))
        server.hangs.set()


DASHBOARD = "https://serin.example"


class Rig:
    """A notifier beside a cache; as the planner does, `settle` takes out of the status what was taken."""

    def __init__(self, *webhooks: Webhook) -> None:
        self.cache = ObjectCache()
        self.looks: list[Key] = []
        self.leads, self.puts = True, 0
        by_name = {one.name: one for one in webhooks}
        self.asked = 0  # how often whether it leads
        self.notifier = Notifier(self.cache, self.looks.append, self._leading, by_name, dashboard=DASHBOARD)

    def _leading(self) -> bool:
        self.asked += 1
        return self.leads

    def put(self, body: JsonObject) -> None:
        self.puts += 1
        body["metadata"]["resourceVersion"] = str(self.puts)
        self.cache.put(kinds.MODEL_DEPLOYMENT, body)


@asynccontextmanager
async def running_notifier(notifier: Notifier) -> AsyncIterator[None]:
    async with in_background(notifier.run()):
        try:
            yield
        finally:
            notifier.close()


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[None]:
    async with running_notifier(rig.notifier):
        yield


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serin.controller.due.FIRST_PAUSE", 0.05)
    monkeypatch.setattr("serin.controller.notifier._PACE", 0.01)


async def test_each_receiver_gets_everything_once_and_in_order() -> None:
    async with serving() as (oncall, first), serving() as (chat, second):
        rig = Rig(Webhook("oncall", first), Webhook("chat", second))
        body = deployment((ONE, TWO), "oncall", "chat")
        async with running(rig):
            rig.put(body)
            found = parse_model_deployment(body)
            every = {(one, name) for one in "12" for name in ("oncall", "chat")}
            await until(lambda: rig.notifier.seen(found).taken == every)
            rig.put(body)  # somebody else's change comes before the status says that they are taken
            await asyncio.sleep(0.1)
            assert (oncall.ids, chat.ids) == (["1", "2"], ["1", "2"])
            assert oncall.came[0]["data"]["url"].startswith(f"{DASHBOARD}/in/shop/fraud")
            rig.put(deployment((), "oncall", "chat"))
            assert rig.notifier.seen(found).taken == frozenset(), "the status knows it: nothing is kept"
            assert ("shop", "fraud") in rig.looks
            assert not rig.notifier._places, "of namespaces that nothing is sent for nothing is kept"


async def test_a_new_leader_sends_what_is_left_with_the_same_id() -> None:
    async with serving() as (oncall, url):
        oncall.status = lambda _: 503
        body = deployment((ONE,), "oncall")
        before, after = Rig(Webhook("oncall", url)), Rig(Webhook("oncall", url))
        async with running(before):
            before.put(body)
            await until(lambda: before.notifier.seen(parse_model_deployment(body)).problem)
        problem = before.notifier.seen(parse_model_deployment(body)).problem
        assert problem == "webhook oncall: it answers with status 503"
        oncall.status = lambda _: 200
        async with running(after):
            after.put(body)
            await until(lambda: after.notifier.seen(parse_model_deployment(body)).taken)
        assert set(oncall.ids) == {"1"}


async def test_it_is_tried_again_until_it_is_taken_and_the_problem_is_over_then() -> None:
    async with serving() as (oncall, url):
        answers = iter([503, 500, 429, 200])
        oncall.status = lambda _: next(answers)
        rig, body = Rig(Webhook("oncall", url)), deployment((ONE,), "oncall")
        async with running(rig):
            rig.put(body)
            await until(lambda: rig.notifier.seen(parse_model_deployment(body)).taken)
        assert rig.notifier.seen(parse_model_deployment(body)).problem == ""
        assert oncall.ids == ["1"] * 4


async def test_one_that_hangs_delays_no_other_receiver_and_no_other_namespace() -> None:
    async with serving() as (oncall, slow), serving() as (chat, quick):
        oncall.hangs.clear()
        rig = Rig(Webhook("oncall", slow), Webhook("chat", quick))
        async with running(rig):
            for number in range(5):
                rig.put(deployment((ONE,), "oncall", "chat", name=f"fraud-{number}"))
            rig.put(deployment((TWO,), "oncall", namespace="bank"))
            await until(lambda: len(chat.came) == 5 and "2" in oncall.ids)
            assert len(oncall.came) == 3, "two at once of a namespace: what hangs takes no more of its connections"


async def test_what_a_receiver_refuses_holds_up_nothing_after_it() -> None:
    async with serving() as (oncall, url):
        oncall.status = lambda one: 400 if one == "1" else 200
        rig, body = Rig(Webhook("oncall", url)), deployment((ONE, TWO), "oncall")
        async with running(rig):
            rig.put(body)
            await until(lambda: ("2", "oncall") in rig.notifier.seen(parse_model_deployment(body)).taken)
        assert rig.notifier.seen(parse_model_deployment(body)).taken == {("2", "oncall")}


async def test_a_receiver_that_is_down_is_not_asked_for_each_of_them() -> None:
    async with serving() as (oncall, url):
        oncall.status = lambda _: 503
        rig, body = Rig(Webhook("oncall", url)), deployment((ONE, TWO), "oncall")
        async with running(rig):
            rig.put(body)
            await until(lambda: len(oncall.came) >= 2)
        assert set(oncall.ids) == {"1"}


@pytest.mark.parametrize("name", ["oncall", "unknown"])
async def test_a_webhook_of_others_is_not_used(name: str) -> None:
    async with serving() as (oncall, url):
        rig = Rig(Webhook("oncall", url, frozenset({"bank"})), Webhook("open", url))
        body = deployment((ONE,), name)
        async with running(rig):
            rig.put(body)
            await until(lambda: rig.notifier.seen(parse_model_deployment(body)).problem)
        words = f"no webhook {name} is set up for this namespace (there are: open)"
        assert rig.notifier.seen(parse_model_deployment(body)).problem == words
        assert oncall.came == []


async def test_who_leads_no_more_sends_nothing() -> None:
    async with serving() as (oncall, url):
        rig = Rig(Webhook("oncall", url))
        rig.leads = False
        async with running(rig):
            rig.put(deployment((ONE,), "oncall"))
            await asyncio.sleep(0.2)
        assert oncall.came == []
        assert rig.asked == 1, "and it is not busy with that"


async def test_a_deployment_that_is_gone_has_no_turns_left() -> None:
    rig = Rig()
    async with running(rig):
        for steps in range(8):
            body = deployment((ONE,), "unknown", name=f"fraud-{steps}")
            rig.put(body)
            for _ in range(steps):
                await asyncio.sleep(0)
            rig.cache.drop(kinds.MODEL_DEPLOYMENT, body)
        await asyncio.sleep(0.1)
        told = len(rig.looks)
        await asyncio.sleep(0.5)
        assert len(rig.looks) == told
        assert rig.notifier._lines == {}


async def test_what_is_gone_from_the_status_is_sent_no_more() -> None:
    async with serving() as (oncall, url):
        oncall.status = lambda _: 503
        rig = Rig(Webhook("oncall", url))
        async with running(rig):
            rig.put(deployment((ONE,), "oncall"))
            await until(lambda: oncall.came)
            rig.put(deployment((), "oncall"))
            await asyncio.sleep(0.1)
            sent = len(oncall.came)
            await asyncio.sleep(0.3)
            assert len(oncall.came) == sent


class Sent:
    """Stands for the network in a loop of jumping time: what was sent and when; `wrong`: raised in its place."""

    def __init__(self) -> None:
        self.cache, self.looks = ObjectCache(), list[Key]()
        self.came: list[tuple[str, float]] = []
        self.wrong: Exception | None = None
        webhooks = {"oncall": Webhook("oncall", "http://oncall.test")}
        self.notifier = Notifier(self.cache, self.looks.append, lambda: True, webhooks, clock=now, send=self._send)
        self.puts = 0

    async def _send(self, _webhook: Webhook, event: JsonObject | list[JsonObject]) -> None:
        assert isinstance(event, dict)
        self.came.append((event["id"], now()))
        if self.wrong:
            raise self.wrong

    def put(self, *pending: Notification) -> JsonObject:
        self.puts += 1
        body = deployment(pending, "oncall")
        body["metadata"]["resourceVersion"] = str(self.puts)
        self.cache.put(kinds.MODEL_DEPLOYMENT, body)
        return body

    @property
    def pauses(self) -> list[int]:
        return [round(later - earlier) for (_, earlier), (_, later) in pairwise(self.came)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with running_notifier(self.notifier):
            yield


@in_jumping_time
async def test_it_is_tried_later_each_time_until_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the pauses are the real ones
    sent = Sent()
    sent.wrong = NotTaken("no answer within 10 s")
    async with sent.running():
        sent.put(ONE)
        await asyncio.sleep(36.0)
        assert sent.pauses == [5, 10, 20]
        assert len(sent.looks) == 4, "a look says why it waits"
        sent.wrong = None
        await asyncio.sleep(60.0)
        assert sent.pauses == [5, 10, 20, 40]
        sent.put()
        sent.wrong = NotTaken("no answer within 10 s")
        sent.put(TWO)
        await asyncio.sleep(6.0)
        assert [one for one, _ in sent.came[-2:]] == ["2", "2"]
        assert sent.pauses[-1] == 5, "what was before is over"


@in_jumping_time
async def test_many_events_come_one_after_the_other_and_each_is_told_to_a_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # the pauses are the real ones
    sent = Sent()
    async with sent.running():
        body = sent.put(*(replace(ONE, id=str(number)) for number in range(20)))
        await asyncio.sleep(60.0)
        assert [one for one, _ in sent.came] == [str(number) for number in range(20)]
        assert sent.came[-1][1] - sent.came[0][1] >= 19 * 0.5
        assert len(sent.looks) == 20
        taken = sent.notifier.seen(parse_model_deployment(body)).taken
        assert len(taken) == 20
        sent.put(replace(ONE, id="19"), replace(ONE, id="20"))
        await asyncio.sleep(60.0)
        assert sent.notifier.seen(parse_model_deployment(body)).taken == {("19", "oncall"), ("20", "oncall")}
        assert len(sent.came) == 21, "what the status does not say yet is not sent again"


@in_jumping_time
async def test_what_comes_after_a_refusal_does_not_wait_for_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the pauses are the real ones
    sent = Sent()
    sent.wrong = NotTaken("it answers with status 400", refused=True)
    async with sent.running():
        sent.put(ONE)
        await asyncio.sleep(1000.0)
        tried = len(sent.came)
        sent.put(ONE)
        await asyncio.sleep(1.0)
        assert len(sent.came) == tried, "a change that tells nothing new is no reason to ask again"
        sent.put(ONE, TWO)
        await asyncio.sleep(1.0)
        assert [one for one, _ in sent.came[tried:]] == ["1", "2"]
        sent.wrong = NotTaken("no answer within 10 s")
        await asyncio.sleep(400.0)
        tried = len(sent.came)
        sent.put(ONE, TWO, replace(ONE, id="3"))
        await asyncio.sleep(1.0)
        assert len(sent.came) == tried, "one that does not answer is not asked more"


@in_jumping_time
async def test_what_nobody_has_thought_of_stops_nothing() -> None:
    sent = Sent()
    sent.wrong = RuntimeError("never seen before")
    async with sent.running():
        body = sent.put(ONE)
        await asyncio.sleep(1.0)
        problem = sent.notifier.seen(parse_model_deployment(body)).problem
        assert problem == "webhook oncall: it could not be sent; the operator's log says why"
        sent.wrong = None
        await asyncio.sleep(60.0)
        assert sent.notifier.seen(parse_model_deployment(body)) == Deliveries(frozenset({("1", "oncall")}))


# ── Formats ───────────────────────────────────────────────────────────────────────────────────────────────────────────

FULL = replace(
    ONE, changed=("model", "config"), metric="errors", estimate="4.1x", interval="2x to 8x", trouble="BadModel"
)


def test_a_cloud_event_has_what_people_need() -> None:
    event = body_of(Format.CLOUD_EVENTS, deployment((FULL,), "oncall"), FULL)
    assert isinstance(event, dict)
    assert {key: event[key] for key in ("specversion", "id", "type", "subject", "time")} == {
        "specversion": "1.0",
        "id": "1",
        "type": "serin.dev.notification.RolledBack",
        "subject": "fraud-b",
        "time": "2023-11-14T22:13:20.000Z",
    }
    assert event["source"] == "/apis/serin.dev/v1alpha1/namespaces/shop/modeldeployments/fraud"
    assert event["data"] == {
        "namespace": "shop",
        "modelDeployment": "fraud",
        "event": "RolledBack",
        "at": "2023-11-14T22:13:20.000Z",
        "reason": "OverLimit",
        "message": "errors: 4% <!channel>",
        "snapshot": "fraud-b",
        "rolledBackTo": "fraud-a",
        "changed": ["model", "config"],
        "metric": "errors",
        "estimate": "4.1x",
        "interval": "2x to 8x",
        "trouble": "BadModel",
        "report": "fraud-b-report-6553f100",
    }


def test_what_is_about_no_version_has_the_deployment_as_its_subject_and_no_report() -> None:
    one = Notification("1", Happening.KILL_SWITCH, 1.7e9, "KillSwitch", "it is on")
    event = body_of(Format.CLOUD_EVENTS, deployment((one,), "oncall"), one)
    assert isinstance(event, dict)
    assert event["subject"] == "fraud"
    assert event["data"].keys() == {"namespace", "modelDeployment", "event", "at", "reason", "message"}


@pytest.mark.parametrize(
    ("happening", "severity"),
    [
        (Happening.ROLLOUT_STARTED, "info"),
        (Happening.WAITING_FOR_APPROVAL, "info"),
        (Happening.PROMOTED, "info"),
        (Happening.ROLLED_BACK, "warning"),
        (Happening.ROLLBACK_FAILED, "warning"),
        (Happening.KILL_SWITCH, "warning"),
        (Happening.RETRAINING_REQUESTED, "info"),
        (Happening.RETRAINING_FAILED, "warning"),
    ],
)
def test_what_has_gone_wrong_is_a_warning(happening: Happening, severity: str) -> None:
    [alert] = body_of(Format.ALERTMANAGER, deployment((), "oncall"), replace(ONE, event=happening))
    assert (alert["labels"]["severity"], alert["labels"]["alertname"]) == (severity, f"Serin{happening}")


def test_an_alert_ends_by_itself_and_another_event_is_another_alert() -> None:
    body = deployment((FULL,), "oncall")
    [alert], [other] = (body_of(Format.ALERTMANAGER, body, one) for one in (FULL, replace(FULL, id="7")))
    assert alert["labels"] != other["labels"]
    assert alert["labels"]["alertname"] == "SerinRolledBack"
    assert alert["labels"]["severity"] == "warning"
    assert alert["endsAt"] == "2023-11-15T00:13:20.000Z"
    assert alert["annotations"]["changed"] == "model, config"
    assert all(isinstance(one, str) for part in ("labels", "annotations") for one in alert[part].values())


def test_a_message_for_slack_mentions_nobody() -> None:
    body = body_of(Format.SLACK, deployment((ONE,), "chat"), ONE)
    assert json.dumps(body).count("<") == 0
    assert body == {"text": "*shop/fraud: RolledBack*\nerrors: 4% &lt;!channel&gt;"}


def test_with_a_web_page_each_message_leads_to_it() -> None:
    base, body = "https://serin.example", deployment((FULL,), "oncall")
    here = f"{base}/in/shop/fraud"
    event = body_of(Format.CLOUD_EVENTS, body, FULL, base)
    assert isinstance(event, dict)
    assert event["data"]["url"] == f"{here}/report/fraud-b"
    [alert] = body_of(Format.ALERTMANAGER, body, replace(FULL, event=Happening.PROMOTED), base)
    assert alert["generatorURL"] == here
    assert alert["labels"] == body_of(Format.ALERTMANAGER, body, replace(FULL, event=Happening.PROMOTED))[0]["labels"]
    evil = replace(FULL, snapshot="x><!channel>")
    message = body_of(Format.SLACK, body, evil, base)
    assert isinstance(message, dict)
    assert message["text"].endswith(f"\n<{here}/report/x%3E%3C%21channel%3E>")


def test_the_address_of_the_web_page_is_what_the_process_is_told() -> None:
    found = parse(["--prometheus-url", "http://x", "--dashboard-url", "https://serin.example:8443/"])
    assert found.dashboard == "https://serin.example:8443"
    assert parse(["--prometheus-url", "http://x"]).dashboard == ""
    for wrong in ("serin.example", "https://a b", "https://x|y", "https://serin.example/path"):
        with pytest.raises(SystemExit):
            parse(["--prometheus-url", "http://x", "--dashboard-url", wrong])
