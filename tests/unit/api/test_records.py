"""Records survive JSON, keep to the schema's bounds whatever is measured, and read whatever stands there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from serin.api.json import JsonObject
from serin.api.records import (
    LONGEST_NAME,
    LONGEST_ORIGIN,
    LONGEST_QUERY,
    LONGEST_SUMMARY,
    LONGEST_UNIT,
    MOST_METRICS,
    MOST_RECORDS,
    MOST_WEIGHTS,
    Measurement,
    Occasion,
    Record,
    bounded,
    decided,
    newest,
    read_records,
    summary,
    write_records,
)
from tests import crds

STATUS = crds.schema("ModelSnapshot")["properties"]["status"]
ROWS = STATUS["properties"]["records"]
QUERY = "template request-errors"
ERRORS = Measurement("errors", 0.0012, 0.0005, 0.003, 4000, "share", 1.0, 60.5, QUERY)
LATENCY = Measurement("latency", 0.041, 0.04, 0.043, 4000, "s", 1.0, 60.5, "template request-latency")


def scheduled(at: float) -> Record:
    return Record(at, Occasion.SCHEDULED, {"f-1": 100}, (ERRORS,))


def test_what_is_written_is_read() -> None:
    records = (
        Record(1.0, Occasion.CREATED, revision="4f1c2ab", author="Ada <ada@example.com>"),
        Record(60.0, Occasion.PROMOTED, {"f-1": 95, "f-2": 5}, (ERRORS, LATENCY)),
    )
    assert read_records(write_records(records)) == records


def test_the_bounds_are_those_of_the_schema() -> None:
    row = ROWS["items"]["properties"]
    metric = row["metrics"]["items"]["properties"]
    bounds = ROWS["maxItems"], row["weights"]["maxProperties"], row["metrics"]["maxItems"]
    assert bounds == (MOST_RECORDS, MOST_WEIGHTS, MOST_METRICS)
    assert metric["query"]["maxLength"] == LONGEST_QUERY
    assert (metric["name"]["maxLength"], metric["unit"]["maxLength"]) == (LONGEST_NAME, LONGEST_UNIT)
    assert row["revision"]["maxLength"] == row["author"]["maxLength"] == LONGEST_ORIGIN
    assert STATUS["properties"]["measured"]["maxLength"] == LONGEST_SUMMARY


def test_what_others_write_at_length_is_cut() -> None:
    long = "x" * 10_000
    wide = tuple(Measurement(f"m-{one}", 1e300 / 7, -1e300, 1e-300, 1, "", 0.0, 1.0, long) for one in range(40))
    weights = {f"f-{one}": 1 for one in range(100)}
    records = [Record(float(one), Occasion.PROMOTED, weights, wide, long, long) for one in range(30)]
    rows = write_records(bounded(records))
    Draft202012Validator(ROWS).validate(rows)
    assert [row["at"] for row in rows] == [row["at"] for row in write_records(records[-MOST_RECORDS:])]
    assert len(summary(records)) <= LONGEST_SUMMARY


def test_scheduled_records_make_room_first_and_the_newest_of_either_kind_stays() -> None:
    decisions = [Record(float(at), Occasion.PROMOTED) for at in range(4)]
    kept = bounded([*decisions, *(scheduled(10.0 + at) for at in range(20))])
    assert kept[:4] == tuple(decisions)
    assert kept[4:] == tuple(scheduled(10.0 + at) for at in range(14, 20))
    many = [Record(float(at), Occasion.PROMOTED) for at in range(40)]
    kept = bounded([*many, scheduled(50.0)])
    assert kept[-2:] == (many[-1], scheduled(50.0)), "one says what was decided last, one when the next is due"
    assert decided(kept) == many[-1]


def test_the_newest_measurement_is_one_of_the_same_query() -> None:
    other = Measurement("errors", 0.5, None, None, 10, "share", 60.0, 90.0, "a / b")
    records = (Record(1.0, Occasion.PROMOTED, metrics=(ERRORS,)), Record(90.0, Occasion.REPLACED, metrics=(other,)))
    assert newest(records, "errors", QUERY) == ERRORS
    assert newest(records, "errors", "a / b") == other
    assert newest(records, "errors", "c / d") is None


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0012, "share", "0.12%"),
        (0.041, "s", "41ms"),
        (2.5, "s", "2.5s"),
        (41.0, "ms", "41ms"),
        (0.0213, "PSI", "PSI 0.0213"),
        (3.0, "", "3"),
    ],
)
def test_values_in_words(value: float, unit: str, words: str) -> None:
    one = Measurement("m", value, None, None, 0, unit, 0.0, 1.0, "q")
    assert summary([Record(1.0, Occasion.PROMOTED, metrics=(one,))]) == f"m {words}"


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.floats() | st.text(max_size=8) | st.just("Promoted"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json)
def test_anything_at_all_is_read(rows: object) -> None:
    read_records(rows)


@pytest.mark.more
@given(st.data())
def test_one_part_of_a_record_replaced_by_anything(data: st.DataObject) -> None:
    row: JsonObject = write_records([Record(60.0, Occasion.PROMOTED, {"f-1": 95}, (ERRORS,))])[0]
    key = data.draw(st.sampled_from(sorted(row)))
    wrong = {**row, key: data.draw(json)}
    metric = {**row["metrics"][0], data.draw(st.sampled_from(sorted(row["metrics"][0]))): data.draw(json)}
    for broken in (wrong, {**row, "metrics": [metric, *row["metrics"]]}):
        Draft202012Validator(ROWS).validate(write_records(read_records([broken, row])))
