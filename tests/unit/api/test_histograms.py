"""Histograms of a record: bounded when they are written, and nothing of them is made up when they are read."""

from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from serin.api.histograms import (
    LONGEST_VALUE,
    MOST_HISTOGRAMS,
    MOST_VALUES,
    Histogram,
    bounded_histograms,
    read_histograms,
    write_histograms,
)
from serin.api.records import LONGEST_QUERY, Occasion, Record, read_records, write_records
from tests import crds

ROW = crds.schema("ModelSnapshot")["properties"]["status"]["properties"]["records"]["items"]["properties"]["histograms"]
ANSWERS = Histogram("answers", ("legit", "fraud", "other"), (97, 3, 0), query="answers_total by label")
TIMES = Histogram("latency", ("0.1", "1", "inf"), (5, 3, 1), ordered=True, unit="s", query="template request-latency")


def test_nothing_is_lost_on_its_way_through_json() -> None:
    assert read_histograms(write_histograms((ANSWERS, TIMES))) == (ANSWERS, TIMES)
    record = Record(1e9, Occasion.PROMOTED, histograms=(ANSWERS, TIMES))
    assert read_records(write_records((record,))) == (record,)


def test_what_is_written_keeps_to_the_bounds_of_the_schema() -> None:
    many = Histogram("a" * 63, tuple("v" * 60 + str(one) for one in range(500)), tuple(range(500)), query="q" * 900)
    times = Histogram("t", tuple(str(one) for one in range(77)), (1,) * 77, ordered=True, unit="s")
    [record] = write_records([Record(1e9, Occasion.PROMOTED, histograms=(many, times) * 10)])
    written = record["histograms"]
    Draft202012Validator(ROW).validate(written)
    values = ROW["items"]["properties"]["values"]
    assert (ROW["maxItems"], values["maxItems"]) == (MOST_HISTOGRAMS, MOST_VALUES) == (8, 32)
    assert ROW["items"]["properties"]["counts"]["maxItems"] == MOST_VALUES
    assert values["items"]["maxLength"] == LONGEST_VALUE
    for row, one in zip(written, (many, times) * 4, strict=True):
        assert sum(row["counts"]) == one.requests, "no request is lost"


def test_the_most_frequent_values_keep_their_names() -> None:
    counts = [1] * 100
    counts[70] = 1000
    [one] = bounded_histograms([Histogram("a", tuple(map(str, range(100))), tuple(counts))], LONGEST_QUERY)
    assert "70" in one.values
    assert one.values[-1] == "other"
    assert one.counts[-1] == 100 - (MOST_VALUES - 1)


def test_there_is_one_other_however_many_were_counted_as_such() -> None:
    many = Histogram("a", (*map(str, range(50)), "other"), (*(1,) * 50, 1000))
    [one] = bounded_histograms([many], LONGEST_QUERY)
    assert one.values == (*map(str, range(MOST_VALUES - 1)), "other")
    assert one.counts[-1] == 1000 + 50 - (MOST_VALUES - 1)


def test_a_count_is_no_larger_than_the_api_server_keeps() -> None:
    [one] = bounded_histograms([replace(ANSWERS, counts=(10**30, 3, 0))], LONGEST_QUERY)
    assert one.counts == (2**63 - 1, 3, 0)


def test_neighbouring_buckets_are_merged_under_the_last_bound() -> None:
    times = replace(TIMES, values=tuple(map(str, range(64))), counts=(1,) * 64)
    [one] = bounded_histograms([times], LONGEST_QUERY)
    assert one.values == tuple(map(str, range(1, 64, 2)))
    assert set(one.counts) == {2}


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"name": "a"},
        {"name": "a", "values": ["x"], "counts": []},
        {"name": "a", "values": ["x"], "counts": [1, 2]},
        {"name": "a", "values": ["x"], "counts": [-1]},
        {"name": "a", "values": ["x"], "counts": [0]},
        {"name": "a", "values": ["x"], "counts": [True]},
        {"name": "a", "values": [1], "counts": [1]},
        "a",
    ],
)
def test_what_does_not_parse_is_left_out(row: object) -> None:
    assert read_histograms([row, *write_histograms((TIMES,))]) == (TIMES,)
    assert read_histograms(row) == ()
