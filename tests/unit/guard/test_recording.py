"""What is counted of an answer, whatever it is, and how much may be counted.

tests/integration/test_envoy_recording.py has Envoy and a guard's process.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from prometheus_client import CollectorRegistry, generate_latest

from serin.api.guard import LARGEST_ANSWER, Protocol
from serin.api.guard_record import Recorded, Recording, is_recording, read_written_recording, write_recording
from serin.guard import counts as counting
from serin.guard.budget import Unchecked
from serin.guard.counts import Counts, series_of
from serin.guard.pairs import Pairs
from serin.guard.predictions import predicted
from serin.guard.recorder import MOST_WAITING, Recorder, RecordExchange
from tests.integration.envoy_rig import eventually

LABEL = Recorded("label", "[].label", labels=("fraud", "7"))
SCORE = Recorded("score", "[].score", buckets=(0.25, 0.5))
RECORDING = Recording("shop", "fraud", Protocol.KSERVE_V1, (LABEL, SCORE))
POD = (
    'filter_metadata {{ key: "serin" value {{ fields {{ key: "attempt" value {{ string_value: "{}" }} }} '
    'fields {{ key: "snapshot" value {{ string_value: "fraud-1" }} }} }} }}'
)


def page(counts: Counts) -> str:
    registry = CollectorRegistry()
    registry.register(counts)
    return generate_latest(registry).decode()


def test_the_settings_are_read_as_they_were_written() -> None:
    text = write_recording(RECORDING)
    assert is_recording(text)
    assert "%" not in text
    assert read_written_recording(text) == RECORDING
    with pytest.raises(ValueError, match="these are no settings of a guard"):
        read_written_recording('{"deployment":["shop","fraud"]}')


@pytest.mark.parametrize(
    ("rows", "labels", "scores"),
    [
        ([{"label": "fraud", "score": 0.5}], [0], [1]),  # a bound belongs to its bucket
        ([{"label": 7, "score": 0.25}, {"label": "7", "score": 0.6}], [1, 1], [0, 2]),
        ([{"label": "legit", "score": True}, {"label": True, "score": None}], [2, 2], []),
        ([{"label": ["fraud", ["x", "fraud"]], "score": [[-1e308, 1e308]]}], [0, 2, 0], [0, 2]),
        ([{"label": {"a": "fraud"}, "score": "0.5"}], [0], []),
    ],
)
def test_each_value_is_counted_by_what_the_spec_names(rows: list[Any], labels: list[int], scores: list[int]) -> None:
    for field, places in enumerate((labels, scores)):
        found = Counter[int]()
        for at in range(len(places)):
            counted = predicted({"predictions": rows}, RECORDING, lambda values, at=at: values[at % len(values)])[field]  # type: ignore[misc]
            assert counted.total() == 1
            found += counted
        assert found == Counter(places)
    assert predicted({"predictions": rows}, RECORDING)[1].total() == bool(scores)


def test_however_many_rows_an_answer_has_it_counts_once() -> None:
    """Rows that are alike would make the evidence look like more than it is."""
    rows = [{"label": "fraud", "score": 0.3}] * 200
    assert predicted({"predictions": rows}, RECORDING) == (Counter([0]), Counter([1]))
    mixed = {"predictions": [*rows[:50], *([{"label": "7", "score": 0.9}] * 150)]}
    seen = sum((predicted(mixed, RECORDING)[0] for _ in range(2_000)), Counter[int]())
    assert seen.total() == 2_000
    assert 400 < seen[0] < 600  # of 500 expected, five deviations of 19


def test_what_is_not_there_is_other_and_no_number() -> None:
    for answer in ({"outputs": []}, {"outputs": [{"name": "label", "data": []}]}):
        how = Recording("a", "b", Protocol.OPEN_INFERENCE, (replace(LABEL, path="label"), replace(SCORE, path="score")))
        assert predicted(answer, how) == (Counter([2]), Counter())


def test_answers_of_language_models_are_counted() -> None:
    how = Recording(
        "a", "b", Protocol.OPEN_AI, (Recorded("end", "choices[].finish_reason", labels=("stop", "length")),)
    )
    assert predicted({"choices": [{"finish_reason": "length"}]}, how) == (Counter([1]),)


@pytest.mark.parametrize("answer", [{}, [], {"predictions": 1}, {"predictions": [{"label": ["x"] * 50_001}]}])
def test_what_is_no_answer_or_too_much_of_one_is_not_recorded(answer: Any) -> None:
    with pytest.raises(Unchecked):
        predicted(answer, RECORDING)


def test_all_counters_of_a_field_appear_together_and_none_is_an_answers() -> None:
    counts = Counts()
    for label in ("fraud", *(f"made up {number}" for number in range(100))):
        counts.add(RECORDING, "fraud-1", predicted({"predictions": [{"label": label, "score": 0.3}]}, RECORDING))
    text = page(counts)
    owner = 'serin_model_deployment="fraud",serin_namespace="shop",serin_snapshot="fraud-1"'
    series = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = {one.split('label="')[1].split('"')[0]: value for one, value in series.items() if 'label="' in one}
    assert labels == {"fraud": "1.0", "7": "0.0", "other": "100.0"}
    assert series[f'serin_prediction_values_bucket{{field="score",le="0.25",{owner}}}'] == "0.0"
    assert series[f'serin_prediction_values_bucket{{field="score",le="+Inf",{owner}}}'] == "101.0"
    told = [series[f'serin_{what}_answers_total{{serin_namespace="shop"}}'] for what in ("recorded", "unrecorded")]
    assert told == ["101.0", "0.0"]
    assert "made up" not in text


def test_no_namespace_and_nobody_has_more_series_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    one = series_of(RECORDING.predictions)
    assert one == 3 + 4
    counts, found = Counts(most=32 * one), (Counter({0: 1}), Counter[int]())
    for number in range(20):
        counts.add(RECORDING, f"fraud-{number}", found)
    assert [f'snapshot="fraud-{number}"' in page(counts) for number in (0, 7, 8)] == [True, True, False]
    # Others that take all that they can leave some room for whoever comes later.
    for team in range(8):
        for number in range(20):
            counts.add(replace(RECORDING, namespace=f"team-{team}"), f"fraud-{number}", found)
    shown = page(counts)
    versions = [len(set(re.findall(f'namespace="team-{team}",serin_snapshot="([^"]+)"', shown))) for team in range(8)]
    assert versions == [8, 8, 4, 2, 1, 0, 0, 0]
    assert 'serin_unrecorded_answers_total{serin_namespace="shop"} 12.0' in shown
    assert 'serin_unrecorded_answers_total{serin_namespace="team-2"} 16.0' in shown
    # What nobody asks for gives its room back.
    now = counting.time.monotonic()
    monkeypatch.setattr(counting.time, "monotonic", lambda: now + counting.IDLE_SECONDS + 60.0)
    counts.add(RECORDING, "fraud-19", found)
    assert [f'snapshot="{name}"' in page(counts) for name in ("fraud-0", "fraud-19", "a")] == [False, True, False]


def test_names_of_namespaces_are_bounded() -> None:
    counts = Counts()
    for number in range(counting.MOST_NAMESPACES + 5):
        counts.left_out(f"team-{number}")
    assert page(counts).count("serin_unrecorded_answers_total{") == counting.MOST_NAMESPACES + 1
    assert 'serin_unrecorded_answers_total{serin_namespace=""} 5.0' in page(counts)


class Clock:
    """Of the counters."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(counting.time, "monotonic", lambda: self.now)


OTHERWISE = Recording("shop", "fraud", RECORDING.protocol, (Recorded("label", "[].label", labels=("legit",)), SCORE))


def values(counts: Counts) -> list[str]:
    """Of labels and of all numbers, as they are shown."""
    lines = [one for one in page(counts).splitlines() if 'label="' in one or 'le="+Inf"' in one]
    return sorted(one.rsplit(" ", 1)[1] for one in lines)


def test_a_field_that_is_counted_otherwise_begins_anew_where_every_scrape_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, counts = Clock(monkeypatch), Counts()
    counts.add(RECORDING, "a", (Counter({0: 3}), Counter({1: 3})))
    counts.add(OTHERWISE, "a", (Counter({1: 1}), Counter({1: 1})))
    assert values(counts) == ["4.0"], "the other field goes on, and this one is gone for a while"
    clock.now += counting.SETTLED_SECONDS
    counts.add(OTHERWISE, "a", (Counter({1: 1}), Counter({1: 1})))
    assert values(counts) == ["0.0", "2.0", "5.0"], "nothing of what came meanwhile is lost"
    # One that is counted no more is gone.
    counts.add(Recording("shop", "fraud", RECORDING.protocol, (SCORE,)), "a", (Counter({1: 1}),))
    assert values(counts) == ["6.0"]


def test_two_routers_of_which_one_has_not_heard_do_not_wipe_each_others_counters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, counts = Clock(monkeypatch), Counts()
    counts.add(RECORDING, "a", (Counter({0: 1}), Counter({1: 1})))
    for _ in range(200):
        counts.add(OTHERWISE, "a", (Counter({1: 1}), Counter({1: 1})))
        counts.add(RECORDING, "a", (Counter({0: 1}), Counter({1: 1})))
        clock.now += 1.0
    assert values(counts) == ["0.0", "200.0", "201.0"]
    assert 'serin_unrecorded_answers_total{serin_namespace="shop"} 200.0' in page(counts)
    # What the user takes back counts again when nobody has the newer ones any more.
    clock.now += counting.SETTLED_SECONDS
    for _ in range(2):
        counts.add(RECORDING, "a", (Counter({0: 1}), Counter({1: 1})))
        clock.now += counting.SETTLED_SECONDS
    assert values(counts) == ["0.0", "0.0", "2.0", "203.0"]


def shown(status: str = "200", attempt: str = "first", path: str = "/v1/models/a:predict", **more: str) -> bytes:
    request = ProcessingRequest()
    headers = {":status": status, "content-type": "application/json", **more}
    for name, value in headers.items():
        request.response_headers.headers.headers.add(key=name.replace("_", "-"), raw_value=value.encode())
    told = {"request.method": "POST", "request.path": path, "xds.upstream_host_metadata": POD.format(attempt)}
    for name, value in told.items():
        request.attributes["envoy.filters.http.ext_proc"].fields[name].string_value = value
    return request.SerializeToString()


def body(data: bytes, end: bool = True) -> bytes:
    request = ProcessingRequest()
    request.response_body.body, request.response_body.end_of_stream = data, end
    return request.SerializeToString()


async def idle(recorder: Recorder) -> None:
    async def waiting() -> int:
        return recorder.waiting()

    await eventually(waiting, lambda found: found == 0, seconds=20)


ANSWER = json.dumps({"predictions": [{"label": "fraud", "score": 0.1}]}).encode()


@pytest.mark.parametrize(
    ("heads", "left_out"),
    [
        ({"status": "500"}, 0),
        ({"attempt": "shield"}, 0),
        ({"attempt": "unkeyed"}, 0),
        ({"path": "/v1/models/a"}, 0),
        ({"content_type": "text/plain"}, 1),
        ({"content_length": str(LARGEST_ANSWER + 1)}, 1),
    ],
)
def test_what_is_no_answer_of_the_version_itself_is_not_collected(heads: dict[str, str], left_out: int) -> None:
    recorder = Recorder(Counts())
    exchange = RecordExchange(RECORDING, recorder, Pairs(2**26))
    assert exchange.on_message(shown(**heads)) is None
    told = 'serin_unrecorded_answers_total{serin_namespace="shop"} 1.0' in page(recorder.counts)
    assert told is bool(left_out)
    recorder.stop()


async def test_an_answer_in_parts_is_counted_and_its_bytes_are_given_back() -> None:
    recorder, pairs = Recorder(Counts()), Pairs(2**26)
    for answer in (ANSWER, b"{", ANSWER):
        exchange = RecordExchange(RECORDING, recorder, pairs)
        assert exchange.on_message(shown()) == b""
        assert exchange.on_message(body(answer[:1], end=False)) == b""
        assert exchange.on_message(body(answer[1:])) is None
        exchange.closed()
    await idle(recorder)
    assert not pairs._room.held
    text = page(recorder.counts)
    assert 'serin_recorded_answers_total{serin_namespace="shop"} 2.0' in text
    assert 'serin_unrecorded_answers_total{serin_namespace="shop"} 1.0' in text
    recorder.stop()


async def test_what_is_more_than_bytes_and_places_for_it_is_left_out() -> None:
    recorder, pairs = Recorder(Counts()), Pairs(4 * 1000)
    exchange = RecordExchange(RECORDING, recorder, pairs)
    exchange.on_message(shown())
    assert exchange.on_message(body(b"x" * 1001)) is None
    for _ in range(1 + MOST_WAITING + 5):  # before the loop hears of any that is read, as the first one is
        recorder.begin(RECORDING, "a", ANSWER, "", pairs.hold("shop"))
    await idle(recorder)
    assert f'serin_recorded_answers_total{{serin_namespace="shop"}} {1 + MOST_WAITING}.0' in page(recorder.counts)
    assert 'serin_unrecorded_answers_total{serin_namespace="shop"} 6.0' in page(recorder.counts)
    recorder.stop()


async def test_nobody_takes_all_places_and_all_take_turns() -> None:
    recorder, pairs, turns = Recorder(Counts()), Pairs(2**26), list[list[str]]()
    read = recorder._read

    def reading(due: Sequence[Any]) -> None:
        turns.append([one.recording.namespace for one in due])
        read(due)

    recorder._read = reading  # type: ignore[method-assign]
    for number in range(2 * MOST_WAITING):  # of many deployments
        large = replace(RECORDING, namespace="large", name=f"fraud-{number}")
        recorder.begin(large, "a", ANSWER, "", pairs.hold("large"))
    held, few = recorder.waiting(), 20
    assert held == 1 + MOST_WAITING
    for _ in range(few):
        recorder.begin(replace(RECORDING, namespace="small"), "a", ANSWER, "", pairs.hold("small"))
    assert recorder.waiting() == held
    await idle(recorder)
    assert turns[: few + 1] == [["large"], *[["large", "small"]] * few]
    text = page(recorder.counts)
    assert f'serin_recorded_answers_total{{serin_namespace="small"}} {few}.0' in text
    assert f'serin_recorded_answers_total{{serin_namespace="large"}} {held - few}.0' in text
    assert not pairs._room.held
    recorder.stop()


async def test_a_namespace_holds_a_part_of_the_bytes_however_many_deployments_it_has() -> None:
    recorder, pairs = Recorder(Counts()), Pairs(4 * 1000)
    taken = []
    for number in range(3):
        exchange = RecordExchange(replace(RECORDING, name=f"fraud-{number}"), recorder, pairs)
        exchange.on_message(shown())
        taken.append(exchange.on_message(body(b"x" * 400, end=False)))
    assert taken == [b"", b"", None]
    recorder.stop()
