"""What is told to whom: once, bounded, and never for something that was not written."""

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from serin.api import names
from serin.api.conditions import Reason
from serin.api.fields import InvalidSpec
from serin.api.notifications import (
    LONGEST_TEXT,
    MOST_PENDING,
    MOST_RECEIVERS,
    Deliveries,
    Happening,
    Notification,
    Outbox,
    identified,
    outbox_of,
    write_outbox,
)
from serin.api.parse import parse_model_deployment
from serin.api.state import State
from serin.api.status import read_state, smallest, write_state
from serin.evaluation.evaluate import Assessment
from serin.rollout.notifications import GIVE_UP, notify
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.strategies.table import strategy_of
from tests import crds
from tests.narratives.world import World, fails, spec

SCHEMA = crds.schema("ModelDeployment")["properties"]["status"]["properties"]["notifications"]
ALL = [{"webhook": {"name": "chat"}}]
DOWN = "webhook chat: it answers with status 503"


def pending(world: World) -> tuple[Notification, ...]:
    return read_state(world.status).outbox.pending


def serving(**changes: Any) -> World:
    world = World(spec(**changes))
    world.receiver_problem = DOWN
    world.run(20)
    return world


def told(world: World) -> list[str]:
    return [line for line in world.story if " takes " in line]


def look(pending: tuple[Notification, ...] = (), taken: frozenset[tuple[str, str]] = frozenset()) -> PlanBuilder:
    """A look at a deployment with two receivers, of which nothing is decided yet."""
    world = World(spec(notifications=[*ALL, {"webhook": {"name": "oncall"}}]))
    seen = replace(world.observe(), deliveries=Deliveries(taken))
    state = replace(seen.state, outbox=Outbox(pending))
    return PlanBuilder(seen, Assessment(), strategy_of(seen.deployment.spec), state)


@pytest.mark.parametrize("happening", [one for one in Happening if one is not Happening.ROLLED_BACK])
def test_an_event_of_its_name_is_what_is_told(happening: Happening) -> None:
    builder = look()
    builder.add_event(Reason(happening.value), "words")
    builder.add_event(Reason.SERVING, "nobody has asked for that")
    notify(builder)
    [one] = builder.state.outbox.pending
    assert (one.event, one.reason, one.message, one.at) == (happening, happening.value, "words", builder.seen.now)
    assert one.receivers == ("chat", "oncall")


def test_only_who_has_not_taken_it_is_told_again_and_a_look_comes_when_it_is_given_up() -> None:
    now = World(spec()).now
    one = Notification("1", Happening.PROMOTED, now - 10.0, "Promoted", "words", receivers=("chat", "oncall"))
    builder = look((one,), frozenset({("1", "chat"), ("2", "oncall")}))
    notify(builder)
    assert [left.receivers for left in builder.state.outbox.pending] == [("oncall",)]
    assert builder.plan().requeue_after == GIVE_UP - 10.0


def test_a_webhook_that_is_named_twice_is_refused() -> None:
    body = World(spec(notifications=[*ALL, {"webhook": {"name": "oncall"}}, *ALL])).body
    with pytest.raises(InvalidSpec, match=r"spec.notifications: the webhook chat is there twice: write it once"):
        parse_model_deployment(body)


def test_each_rollback_is_told() -> None:
    world = serving(notifications=ALL)
    world.sampler = fails
    for version in "23":
        world.change(spec(version, notifications=ALL))
        world.run(60)
    backs = [one for one in pending(world) if one.event is Happening.ROLLED_BACK]
    assert [one.snapshot for one in backs] == [
        one.snapshot for one in pending(world) if one.event is Happening.ROLLOUT_STARTED
    ]
    assert len({one.snapshot for one in backs}) == 2


def test_a_rollback_is_told_with_its_cause_and_both_versions() -> None:
    world = serving(notifications=ALL)
    stable = read_state(world.status).stable
    world.sampler = fails
    bad = world.change(spec("2", notifications=ALL))
    world.run(60)
    [started, back] = pending(world)
    assert (started.event, started.snapshot) == (Happening.ROLLOUT_STARTED, bad)
    assert (back.event, back.snapshot, back.target, back.changed) == (Happening.ROLLED_BACK, bad, stable, ("model",))
    assert (back.metric, back.trouble) == ("errors", "BadModel")
    assert back.estimate
    assert back.at == read_state(world.status).last_rollback.at  # type: ignore[union-attr]
    assert back.receivers == ("chat",)


def test_whoever_asks_for_some_events_hears_of_no_others_and_without_receivers_nothing_is_kept() -> None:
    some = [{"webhook": {"name": "oncall"}, "events": ["RolledBack"]}]
    for asked, events in ((some, [Happening.ROLLED_BACK]), ([], [])):
        world = serving(notifications=asked)
        world.sampler = fails
        world.change(spec("2", notifications=asked))
        world.run(60)
        assert [one.event for one in pending(world)] == events


def test_it_is_told_once_and_what_was_told_is_gone() -> None:
    world = serving(notifications=ALL)
    world.sampler = fails
    world.change(spec("2", notifications=ALL))
    world.run(60)
    ids = [one.id for one in pending(world)]
    world.run(60)
    assert [one.id for one in pending(world)] == ids
    world.receiver_problem = ""
    world.run(60)
    assert pending(world) == ()
    assert "notifications" not in world.status
    assert len(told(world)) == 2


def test_a_receiver_that_the_spec_names_no_longer_is_told_nothing() -> None:
    world = serving(notifications=ALL)
    world.change(spec("2", notifications=ALL))
    world.run(20)
    assert pending(world)
    world.change(spec("2"))
    world.run(10)
    assert pending(world) == ()
    world.receiver_problem = ""
    world.run(10)
    assert told(world) == []


def test_an_outbox_is_bounded_and_what_gives_way_is_said() -> None:
    world = serving(notifications=ALL)
    for number in range(MOST_PENDING + 5):
        world.annotate(names.ANNOTATION_KILL_SWITCH, "Candidate" if number % 2 == 0 else None)
        world.run(5)
    assert len(pending(world)) == MOST_PENDING
    assert sum("NotificationFailed" in line for line in world.story) == 5
    Draft202012Validator(SCHEMA).validate(world.status["notifications"])


def test_it_is_given_up_after_an_hour() -> None:
    world = serving(notifications=ALL)
    world.annotate(names.ANNOTATION_KILL_SWITCH, "Candidate")
    world.run(3500)
    assert len(pending(world)) == 1
    world.run(300)
    assert pending(world) == ()
    assert sum("NotificationFailed" in line and DOWN in line for line in world.story) == 1
    assert sum("NotificationWaits" in line for line in world.story) == 1


def test_texts_keep_to_the_schema_and_come_back() -> None:
    one = Notification("1", Happening.PROMOTED, 1.7e9, "Promoted", "x" * 5000, "fraud-b", receivers=("a", "b"))
    row = write_outbox(Outbox((replace(one, id="0"), *(one,) * (MOST_PENDING + 2)), "p" * 5000))
    Draft202012Validator(SCHEMA).validate(row)
    again = outbox_of(row)
    assert len(again.pending) == MOST_PENDING
    assert replace(again.pending[0], message="") == replace(one, message="")
    assert len(again.pending[0].message) == len(again.problem) == LONGEST_TEXT
    items = SCHEMA["properties"]["pending"]["items"]["properties"]
    bounds = (SCHEMA["properties"]["pending"]["maxItems"], items["message"]["maxLength"])
    assert bounds == (MOST_PENDING, LONGEST_TEXT)
    spec_of = crds.schema("ModelDeployment")["properties"]["spec"]["properties"]["notifications"]
    assert spec_of["items"]["properties"]["events"]["items"]["enum"] == [one.value for one in Happening]


def test_another_event_has_another_id_and_the_same_one_has_the_same() -> None:
    one = Notification("", Happening.KILL_SWITCH, 1.7e9, "KillSwitch", "it is on", "fraud-b")
    others = (
        replace(one, at=1.7e9 + 1.0),
        replace(one, event=Happening.PROMOTED),
        replace(one, reason="Other"),
        replace(one, message="it is off"),
    )
    ids = [identified(each, "uid").id for each in (one, *others)] + [identified(one, "uid of another").id]
    assert len({*ids}) == len(ids)
    assert identified(replace(one, receivers=("chat",)), "uid").id == ids[0], "whoever has taken it meanwhile"


def test_all_that_a_spec_names_and_all_that_the_platform_tells_without_it_have_room() -> None:
    spec_of = crds.schema("ModelDeployment")["properties"]["spec"]["properties"]["notifications"]
    values = json.loads((crds.ROOT / "charts/serin/values.schema.json").read_text())
    assert spec_of["maxItems"] + values["properties"]["webhooks"]["maxItems"] == MOST_RECEIVERS
    everybody = tuple(f"webhook-{number}" for number in range(MOST_RECEIVERS))
    one = Notification("1", Happening.ROLLED_BACK, 1.7e9, "OverLimit", "4%", receivers=everybody)
    row = write_outbox(Outbox((one,)))
    assert row["pending"][0]["receivers"] == list(everybody)
    for receivers in (everybody, (*everybody, "one-more")):
        Draft202012Validator(SCHEMA).validate(write_outbox(Outbox((replace(one, receivers=receivers),))))


def test_what_does_not_parse_is_left_out() -> None:
    good = {"id": "1", "event": "Promoted", "at": "2026-01-01T00:00:00Z", "receivers": ["a", 7]}
    rows = [good, good | {"at": "never"}, good | {"event": "Nothing"}, good | {"id": ""}, "x", {}]
    [one] = outbox_of({"pending": rows}).pending
    assert one.receivers == ("a",)
    assert outbox_of({"pending": 7, "problem": 7}) == Outbox()


def test_the_smallest_status_still_has_them_without_words() -> None:
    one = Notification("1", Happening.ROLLED_BACK, 1.7e9, "OverLimit", "", "fraud-b", receivers=("a",))
    long = replace(one, message="long", metric="errors", estimate="4.1x", interval="2x to 8x")
    kept = read_state(smallest(write_state(State(stable="fraud-a", outbox=Outbox((long,), "down"))))).outbox
    assert kept == Outbox((one,))
