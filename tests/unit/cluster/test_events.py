"""The Event recorder: never blocks, folds repetitions together, drops the oldest and says so."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from serin.api.json import JsonObject
from serin.cluster.events import EventRecorder
from serin.cluster.protocol import Retryable
from tests.unit.jumping_time import in_jumping_time

DEPLOYMENT: JsonObject = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"namespace": "shop", "name": "fraud", "uid": "u1", "resourceVersion": "7"},
}


class Api:
    """Keeps what is written; refuses the first `failures` requests, and takes `delay` seconds for each."""

    def __init__(self, failures: int = 0, delay: float = 0.0) -> None:
        self.written: list[JsonObject] = []
        self._failures, self._delay = failures, delay

    async def create_event(self, body: JsonObject) -> None:
        await asyncio.sleep(self._delay)
        if self._failures:
            self._failures -= 1
            raise Retryable("away")
        self.written.append(body)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


def recorder(api: Api, clock: Clock, drops: list[int] | None = None, per_second: float = 1000) -> EventRecorder:
    return EventRecorder(
        api,
        "serin-0",
        on_drop=lambda: drops.append(1) if drops is not None else None,
        per_second=per_second,
        clock=lambda: clock.now,
        wall=clock.wall,
    )


@in_jumping_time
async def test_an_event_tells_what_about_whom_and_by_whom() -> None:
    api, clock = Api(), Clock()
    events = recorder(api, clock)
    events.record(DEPLOYMENT, "WorseThanStable", "errors: 9.7 times stable's", warning=True)
    await events.flush(1)
    [body] = api.written
    assert (body["type"], body["reason"], body["note"]) == ("Warning", "WorseThanStable", "errors: 9.7 times stable's")
    assert body["regarding"]["uid"] == "u1"
    assert (body["reportingController"], body["reportingInstance"]) == ("serin.dev/operator", "serin-0")
    assert body["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert "series" not in body


@in_jumping_time
async def test_the_same_again_is_one_event_with_a_count_until_it_was_quiet_for_long() -> None:
    api, clock = Api(), Clock()
    events = recorder(api, clock)
    for second in (0.0, 5.0, 9.0):
        clock.now = second
        events.record(DEPLOYMENT, "Baking", "5 % for 3m")
        await events.flush(1)
    assert len({body["metadata"]["name"] for body in api.written}) == 1
    assert {body["eventTime"] for body in api.written} == {"2026-01-01T00:00:00.000000Z"}
    assert api.written[-1]["series"] == {"count": 3, "lastObservedTime": "2026-01-01T00:00:09.000000Z"}
    clock.now += 3600
    events.record(DEPLOYMENT, "Baking", "5 % for 3m")
    await events.flush(1)
    assert "series" not in api.written[-1]
    assert len({body["metadata"]["name"] for body in api.written}) == 2


@in_jumping_time
async def test_another_reason_note_or_object_is_another_event() -> None:
    api, clock = Api(), Clock()
    events = recorder(api, clock)
    other = {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "uid": "u2"}}
    for body, reason, note in (
        (DEPLOYMENT, "A", "x"),
        (DEPLOYMENT, "B", "x"),
        (DEPLOYMENT, "A", "y"),
        (other, "A", "x"),
    ):
        events.record(body, reason, note)
    await events.flush(1)
    assert len({body["metadata"]["name"] for body in api.written}) == 4


@in_jumping_time
async def test_too_many_drop_the_oldest_and_are_counted() -> None:
    api, clock, drops = Api(), Clock(), list[int]()
    events = recorder(api, clock, drops)
    for number in range(600):
        events.record(DEPLOYMENT, "Baking", str(number))
    await events.flush(5)
    assert len(drops) == 100
    assert [body["note"] for body in api.written] == [str(number) for number in range(100, 600)]


@in_jumping_time
async def test_recording_never_waits_and_writing_keeps_to_its_rate() -> None:
    api, clock = Api(delay=0.01), Clock()
    events = recorder(api, clock, per_second=20)
    task = asyncio.create_task(events.run())
    await asyncio.sleep(0)
    for number in range(100):
        events.record(DEPLOYMENT, "Baking", str(number))
    assert api.written == []
    await asyncio.sleep(0.5)
    task.cancel()
    assert 5 <= len(api.written) <= 11


@in_jumping_time
async def test_a_failed_write_is_not_repeated_and_stops_nothing() -> None:
    api, clock = Api(failures=1), Clock()
    events = recorder(api, clock)
    task = asyncio.create_task(events.run())
    events.record(DEPLOYMENT, "A", "lost")
    await asyncio.sleep(0.02)
    events.record(DEPLOYMENT, "B", "written")
    await asyncio.sleep(0.05)
    task.cancel()
    assert [body["reason"] for body in api.written] == ["B"]


@in_jumping_time
async def test_flush_gives_up_in_time() -> None:
    api, clock = Api(delay=10), Clock()
    events = recorder(api, clock)
    events.record(DEPLOYMENT, "A", "x")
    await asyncio.wait_for(events.flush(0.05), 1)
    assert api.written == []


@pytest.mark.parametrize("letter", ["x", "€"])
@in_jumping_time
async def test_a_note_is_cut_to_what_the_api_takes(letter: str) -> None:
    api, clock = Api(), Clock()
    events = recorder(api, clock)
    events.record(DEPLOYMENT, "A", letter * 5000)
    await events.flush(1)
    note = api.written[0]["note"]
    assert 1020 < len(note.encode()) <= 1024, "the API server counts bytes"
    assert note.strip(letter) == "…"
