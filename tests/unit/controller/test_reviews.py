"""Answers that people look at: who may bring them, what room there is, and that what people say counts once.

The API server is the simulation's; tests/integration/test_reviews.py has a real one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from serin.api import names
from serin.api.guard_review import Item, Part, Taken, item_proof
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.review_intake import ReviewIntake
from serin.controller.review_verdicts import ReviewVerdicts
from serin.controller.telemetry import Telemetry
from serin.controller.webhooks import Format, NotTaken, Webhook
from serin.routers.base import Told
from tests import crds
from tests.simulation import clock
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault
from tests.simulation.api.resources import NAMESPACE
from tests.simulation.api.rest import Rest
from tests.simulation.cluster import ProcessDied, SimulatedCluster

REVIEW: JsonObject = {"request": ["amount"], "answer": ["label"], "keep": 3}
FIELDS = (Taken(Part.REQUEST, "amount", "[12.5]"), Taken(Part.ANSWER, "label", '["legit"]'))
LABELLING = Webhook("labelling", "https://labels.example")


def deployment(name: str = "fraud", namespace: str = "shop", **review: object) -> JsonObject:
    body: JsonObject = {
        "apiVersion": names.API_VERSION,
        "kind": names.MODEL_DEPLOYMENT,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "template": {"spec": {"containers": [{"name": "m", "image": "i", "ports": [{"containerPort": 8080}]}]}},
            "guard": {"review": REVIEW | review},
        },
    }
    return crds.defaulted(body)


class Events:
    """What was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def record(self, regarding: JsonObject, reason: str, note: str, *, warning: bool = False) -> None:
        assert warning
        assert regarding["metadata"]["uid"]
        self.told.append((reason, note))


class World:
    """One control plane, and what a replica has beside it. `told`: what the router was told."""

    def __init__(self, *deployments: JsonObject) -> None:
        self.rest = Rest(seed=1)
        for namespace in ("shop", "other"):
            self.rest.server.create(NAMESPACE, "", {"metadata": {"name": namespace}}, manager="kubectl")
        self.cache, self.events, self.telemetry = ObjectCache(), Events(), Telemetry()
        for body in deployments or (deployment(),):
            namespace, name = names.key_of(body)
            made = self.rest.server.create(kinds.MODEL_DEPLOYMENT, namespace, body, manager="kubectl")
            self.cache.put(kinds.MODEL_DEPLOYMENT, made)
            for end in ("a", "b"):
                spec = {"modelDeployment": name}
                metadata = {
                    "namespace": namespace,
                    "name": f"{name}-{end}",
                    "uid": f"{name}-{end}",
                    "resourceVersion": "1",
                }
                self.cache.put(kinds.MODEL_SNAPSHOT, {"metadata": metadata, "spec": spec})
        self.told: list[tuple[Key, str, str]] = []
        self.answer: Told | Exception = Told.COUNTED
        self.unheard: set[str] = set()  # names of deployments whose router is not reached
        self.sent: list[JsonObject] = []
        self.webhook: Callable[[], Coroutine[Any, Any, None]] | None = None

    def item(self, snapshot: str = "fraud-a", name: str = "fraud", namespace: str = "shop") -> Item:
        """As the guard gives it."""
        body = self.cache.get(kinds.MODEL_DEPLOYMENT, namespace, name)
        assert body is not None
        return Item(f"{namespace}/{name}", item_proof(body["metadata"]["uid"]), snapshot, 0.52, FIELDS)

    def change(self, body: JsonObject) -> None:
        """Replace a ModelDeployment."""
        namespace, name = names.key_of(body)
        known = self.cache.get(kinds.MODEL_DEPLOYMENT, namespace, name)
        assert known is not None
        version = known["metadata"]["resourceVersion"]
        new = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        made = self.rest.server.replace(kinds.MODEL_DEPLOYMENT, namespace, name, new, manager="kubectl")
        self.cache.put(kinds.MODEL_DEPLOYMENT, made)

    async def tell(self, key: Key, snapshot: str, verdict: str) -> Told:
        if isinstance(self.answer, Exception):
            raise self.answer
        if key[1] in self.unheard:
            return Told.NOT_SENT
        if self.answer in (Told.COUNTED, Told.PERHAPS):
            self.told.append((key, snapshot, verdict))
        return self.answer

    async def send(self, _webhook: Webhook, event: Any) -> None:
        if self.webhook is not None:
            await self.webhook()
        self.sent.append(event)

    def intake(self, plan: faults.Plan = faults.nothing, *webhooks: Webhook) -> ReviewIntake:
        cluster = SimulatedCluster(self.rest, plan=plan)
        known = {one.name: one for one in webhooks or (LABELLING,)}
        return ReviewIntake(
            cluster, self.cache, self.events, self.telemetry, known, port=0, send=self.send, clock=clock.now
        )

    def verdicts(self, plan: faults.Plan = faults.nothing, leading: bool = True) -> ReviewVerdicts:
        cluster = SimulatedCluster(self.rest, plan=plan)
        return ReviewVerdicts(
            cluster,
            self.cache,
            self.events,
            self.telemetry,
            self.tell,
            lambda: leading,
            clock=clock.wall,
            monotonic=clock.now,
        )

    def items(self, namespace: str = "shop") -> list[JsonObject]:
        return list(self.rest.server.page(kinds.REVIEW_ITEM, namespace).items)

    def counted(self) -> Counter[str]:
        found = (one["metadata"]["labels"] for one in self.items())
        return Counter(one.get(names.LABEL_COUNTED, "-") for one in found)

    def say(self, verdict: str, *which: JsonObject) -> None:
        for one in which or self.items():
            patch = {"metadata": {"labels": {names.LABEL_REVIEWED: verdict}}}
            self.rest.server.patch(kinds.REVIEW_ITEM, *names.key_of(one), patch, manager="kubectl")

    def number(self, outcome: str) -> float:
        value = self.telemetry.registry.get_sample_value("serin_review_items_total", {"outcome": outcome})
        return value or 0.0


def in_world(*deployments: JsonObject) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], Callable[[], None]]:
    def decorate(test: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        def run() -> None:
            async def main() -> None:
                await test(World(*deployments))

            clock.run(main)

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


async def later(seconds: float = 1.0) -> None:
    await asyncio.sleep(seconds)


async def brought(world: World, count: int = 1, intake: ReviewIntake | None = None, **more: str) -> list[int]:
    """So many items, one after the other, as often as a version may have one."""
    found, intake = [], intake or world.intake()
    for _ in range(count):
        found.append(intake.take(world.item(**more)))
        await later(200.0)
    return found


# ── Items ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@in_world()
async def test_an_item_has_what_the_spec_names_and_goes_with_its_deployment(world: World) -> None:
    assert await brought(world) == [202]
    [one] = world.items()
    assert one["spec"] == {
        "modelDeployment": "fraud",
        "snapshot": "fraud-a",
        "confidence": "0.52",
        "fields": [
            {"of": "Request", "path": "amount", "value": "[12.5]"},
            {"of": "Answer", "path": "label", "value": '["legit"]'},
        ],
    }
    assert one["metadata"]["ownerReferences"][0]["name"] == "fraud"
    assert world.number("kept") == 1
    assert crds.undeclared(one) == []


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"proof": item_proof("another")}, 404),
        ({"proof": "\ud800"}, 404),
        ({"name": "shop/nobody"}, 404),
        ({"name": "fraud"}, 404),
        ({"snapshot": "other-a"}, 404),
        ({"fields": (Taken(Part.REQUEST, "name", '"Alice"'),)}, 400),
        ({"fields": (Taken(Part.ANSWER, "amount", "1"),)}, 400),
        ({"fields": FIELDS * 2}, 400),
    ],
)
def test_whoever_merely_reaches_the_port_brings_nothing(wrong: dict[str, Any], status: int) -> None:
    @in_world(deployment(), deployment("other", "other"))
    async def test(world: World) -> None:
        assert world.intake().take(replace(world.item(), **wrong)) == status
        await later()
        assert world.items() == []

    test()


@in_world()
async def test_a_version_has_an_item_in_a_while_and_another_version_its_own(world: World) -> None:
    intake = world.intake()
    assert [intake.take(world.item()), intake.take(world.item()), intake.take(world.item("fraud-b"))] == [202, 429, 202]
    await later(3600 / 20)
    assert intake.take(world.item()) == 202


@in_world(deployment("fraud", "shop"), deployment("other", "other"))
async def test_what_hangs_in_one_namespace_keeps_no_other_waiting(world: World) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def hang() -> None:
        await never

    world.webhook = hang
    world.change(deployment(webhook={"name": "labelling"}))
    intake = world.intake()
    assert [intake.take(world.item("fraud-a")), intake.take(world.item("fraud-b"))] == [202, 202]
    await later(600)
    assert intake.take(world.item("fraud-a")) == 503
    assert intake.take(world.item("other-a", "other", "other")) == 202
    await later()
    assert len(world.items("other")) == 1
    assert world.number("left-out") == 1
    never.set_result(None)
    await later()
    assert intake.take(world.item("fraud-a")) == 202, "what found no room has not had its turn"
    await later()


@in_world()
async def test_the_oldest_of_the_version_that_has_the_most_gives_way(world: World) -> None:
    intake = world.intake()
    assert await brought(world, intake=intake, snapshot="fraud-b") == [202]
    assert await brought(world, 4, intake) == [202] * 4
    found = world.items()
    assert Counter(one["spec"]["snapshot"] for one in found) == {"fraud-a": 2, "fraud-b": 1}
    assert sorted(one["spec"].get("leftOut", 0) for one in found) == [0, 1, 1]
    assert world.number("gave-way") == 2


@in_world()
async def test_what_somebody_has_said_gives_way_when_it_has_counted_and_not_before(world: World) -> None:
    intake = world.intake()
    await brought(world, 3, intake)
    world.say("wrong")
    kept = {one["metadata"]["name"] for one in world.items()}
    await brought(world, 1, intake)
    assert {one["metadata"]["name"] for one in world.items()} == kept
    await world.verdicts().look()
    await brought(world, 1, intake)
    [new] = [one for one in world.items() if one["metadata"]["name"] not in kept]
    assert new["spec"]["leftOut"] == 1
    assert world.number("gave-way") == 0


@in_world(deployment(webhook={"name": "labelling"}))
async def test_a_webhook_gets_what_was_answered_and_the_item_has_none_of_it(world: World) -> None:
    await brought(world)
    [one], [event] = world.items(), world.sent
    assert one["spec"] == {
        "modelDeployment": "fraud",
        "snapshot": "fraud-a",
        "confidence": "0.52",
        "webhook": "labelling",
    }
    assert (event["specversion"], event["type"], event["id"]) == (
        "1.0",
        "serin.dev.review.requested",
        one["metadata"]["uid"],
    )
    assert event["data"]["reviewItem"] == one["metadata"]["name"]
    assert event["data"]["fields"][1] == {"of": "Answer", "path": "label", "value": '["legit"]'}


@in_world(deployment(webhook={"name": "labelling"}))
async def test_what_a_webhook_does_not_take_is_told_once_and_gone(world: World) -> None:
    tries = []

    async def refuse() -> None:
        tries.append(clock.now())
        raise NotTaken("it answers with status 503")

    world.webhook, intake = refuse, world.intake()
    await brought(world, 1, intake)
    assert (world.items(), len(tries), world.number("not-sent")) == ([], 1, 1)
    assert world.events.told == [
        ("ReviewNotSent", "an answer for people was not sent: webhook labelling: it answers with status 503")
    ]
    world.webhook = None
    await brought(world, 1, intake)
    assert world.items()[0]["spec"]["leftOut"] == 1


@pytest.mark.parametrize(
    ("webhook", "why"),
    [
        (Webhook("labelling", "https://x", frozenset({"other"})), "no webhook labelling is set up for this namespace"),
        (Webhook("labelling", "https://x", format=Format.SLACK), "it takes no CloudEvents (Slack)"),
    ],
)
def test_a_webhook_of_somebody_else_is_not_asked(webhook: Webhook, why: str) -> None:
    @in_world(deployment(webhook={"name": "labelling"}))
    async def test(world: World) -> None:
        world.intake(faults.nothing, webhook).take(world.item())
        await later()
        assert (world.items(), world.sent) == ([], [])
        assert why in world.events.told[0][1]

    test()


@in_world()
async def test_an_api_server_that_does_not_take_it_loses_one_item(world: World) -> None:
    await brought(world, intake=world.intake(faults.at(1, Fault.FORBIDDEN)))
    assert (world.items(), world.number("left-out")) == ([], 1)


# ── What people say ───────────────────────────────────────────────────────────────────────────────────────────────────


@in_world()
async def test_what_people_say_counts_once_by_version(world: World) -> None:
    await brought(world)
    await brought(world, snapshot="fraud-b")
    verdicts = world.verdicts()
    await verdicts.look()
    assert world.told == []
    for one in world.items():
        world.say("wrong" if one["spec"]["snapshot"] == "fraud-a" else "right", one)
    for _ in range(3):
        await verdicts.look()
    assert sorted(world.told) == [(("shop", "fraud"), "fraud-a", "wrong"), (("shop", "fraud"), "fraud-b", "right")]
    assert world.counted() == {"wrong": 1, "right": 1}
    world.say("right")  # too late
    await verdicts.look()
    assert len(world.told) == 2


@in_world()
async def test_other_words_count_nothing_and_are_told(world: World) -> None:
    await brought(world)
    world.say("maybe")
    await world.verdicts().look()
    assert (world.told, world.counted()) == ([], {"no-verdict": 1})
    assert world.events.told[0][0] == "ReviewNotCounted"


@pytest.mark.parametrize(
    ("answer", "counted", "told"),
    [
        (Told.PERHAPS, "unknown", 1),
        (Told.UNKNOWN_VERSION, "unknown-version", 0),
        (ZeroDivisionError(), "unknown", 0),
    ],
)
def test_what_is_not_known_to_have_counted_is_not_counted_again(
    answer: Told | Exception, counted: str, told: int
) -> None:
    @in_world()
    async def test(world: World) -> None:
        await brought(world)
        world.say("wrong")
        world.answer = answer
        verdicts = world.verdicts()
        for _ in range(3):
            await verdicts.look()
        assert (len(world.told), world.counted()) == (told, {counted: 1})
        assert [reason for reason, _ in world.events.told] == ["ReviewNotCounted"]

    test()


@in_world()
async def test_what_reaches_no_router_is_tried_again(world: World) -> None:
    await brought(world)
    world.say("wrong")
    world.answer, verdicts = Told.NOT_SENT, world.verdicts()
    await verdicts.look()
    assert world.counted() == {"-": 1}
    world.answer = Told.COUNTED
    await verdicts.look()
    assert (len(world.told), world.counted()) == (1, {"wrong": 1})


@in_world(deployment("aaa", keep=50), deployment("zzz"))
async def test_what_cannot_be_told_keeps_no_other_waiting(world: World) -> None:
    intake = world.intake()
    for _ in range(25):
        await brought(world, intake=intake, name="aaa", snapshot="aaa-a")
    await brought(world, intake=intake, name="zzz", snapshot="zzz-a")
    world.say("wrong")
    world.unheard.add("aaa")
    verdicts = world.verdicts()
    for _ in range(3):
        await verdicts.look()
    assert [key for key, _, _ in world.told] == [("shop", "zzz")]
    world.unheard.clear()
    for _ in range(3):
        await verdicts.look()
    assert len(world.told) == 26


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER, Fault.LOST, Fault.NEVER_SENT, Fault.CONFLICT])
@pytest.mark.parametrize("answer", [Told.COUNTED, Told.NOT_SENT])
@pytest.mark.parametrize("write", range(1, 5))
def test_whatever_happens_to_a_write_nothing_counts_twice_or_is_lost_silently(
    fault: Fault, answer: Told, write: int
) -> None:
    @in_world()
    async def test(world: World) -> None:
        await brought(world, 2)
        world.say("wrong")
        world.answer, first = answer, world.verdicts(faults.at(write, fault))
        try:
            await first.look()
            world.answer = Told.COUNTED
            await first.look()
        except ProcessDied:
            world.answer = Told.COUNTED
        second = world.verdicts()
        for _ in range(2):
            await second.look()
        items = {one["metadata"]["name"]: one["metadata"]["labels"][names.LABEL_COUNTED] for one in world.items()}
        lost = [what for what in items.values() if what != "wrong"]
        assert set(lost) <= {"unknown"}
        assert len(world.told) <= len(items) == 2
        assert len(world.told) >= 2 - len(lost)
        assert len(world.events.told) >= len(lost)

    test()


@in_world()
async def test_a_former_leader_takes_back_no_beginning_of_the_next_one(world: World) -> None:
    await brought(world)
    world.say("wrong")
    began = asyncio.Event()

    async def slowly(_key: Key, _snapshot: str, _verdict: str) -> Told:
        began.set()
        await later(5)
        return Told.NOT_SENT

    old = world.verdicts()
    old._tell = slowly
    task = asyncio.create_task(old.look())
    await began.wait()
    new = world.verdicts()
    await new.look()  # settles: nobody knows
    world.say("right")
    await task
    await new.look()
    assert (world.told, world.counted()) == ([], {"unknown": 1})


@in_world()
async def test_who_leads_no_more_counts_nothing(world: World) -> None:
    await brought(world)
    world.say("wrong")
    await world.verdicts(leading=False).look()
    assert (world.told, world.counted()) == ([], {"-": 1})


@in_world(deployment(), deployment("other", "other"))
async def test_one_namespace_that_refuses_keeps_no_other_waiting(world: World) -> None:
    await brought(world)
    await brought(world, snapshot="other-a", name="other", namespace="other")
    world.say("wrong", *world.items("shop"), *world.items("other"))
    await world.verdicts(faults.matching(Fault.FORBIDDEN, 99, namespace="other", verb="list")).look()
    assert [key for key, _, _ in world.told] == [("shop", "fraud")]


@in_world(deployment(expireAfter="1h"))
async def test_items_expire_and_go_when_nobody_looks_any_more(world: World) -> None:
    verdicts = world.verdicts()
    await brought(world, 2)
    await verdicts.look()
    assert len(world.items()) == 2
    await later(3300)
    await verdicts.look()
    assert len(world.items()) == 1  # a fresh one stays
    assert world.events.told == []
    world.say("wrong")
    body = deployment()
    del body["spec"]["guard"]
    world.change(body)
    await later(700)
    await verdicts.look()
    assert world.items() == []
    assert [reason for reason, _ in world.events.told] == ["ReviewNotCounted"]


@in_world()
async def test_a_deployment_that_nobody_looks_at_costs_no_request(world: World) -> None:
    body = deployment()
    del body["spec"]["guard"]
    world.change(body)
    asked: list[str] = []

    def seen(request: faults.Request) -> None:
        asked.append(request.verb)

    verdicts = world.verdicts(seen)
    for _ in range(5):
        await verdicts.look()
        await later(700)
    assert asked == ["list"]  # at the beginning of a term: what is left of another one's
