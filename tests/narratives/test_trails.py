"""The looks that the status keeps for plots, in every story: they cost no write, and belong to one trial."""

import copy
from itertools import pairwise

import pytest

from serin.api import names
from serin.api.json import JsonObject
from serin.api.snapshots import read_snapshot
from serin.api.status import read_metric, read_status
from serin.api.trail import MOST_POINTS
from tests.narratives import stories
from tests.narratives.film import film, played

pytestmark = pytest.mark.stories


def without(status: JsonObject) -> JsonObject:
    plain = copy.deepcopy(status)
    for row in plain.get("metrics", ()):
        row.pop("trail", None)
    return plain


def test_no_status_is_written_for_a_trail_alone() -> None:
    written = 0
    for name, story in stories.named():
        statuses = [status for kind, status in played(story).written if kind == names.MODEL_DEPLOYMENT]
        for before, after in pairwise(statuses):
            written += any("trail" in row for row in after.get("metrics", ()))
            assert before == after or without(before) != without(after), name
    assert written > 1000


def test_a_trail_ends_with_what_is_said_now_and_begins_with_its_trial() -> None:
    longest = 0
    for name, story in stories.named():
        for status in (read_status(one) for kind, one in played(story).written if kind == names.MODEL_DEPLOYMENT):
            judged, limits = status.state.judged, status.state.held_to_limits
            since = judged.since if judged else limits.since if limits else None
            for row in status.metrics:
                longest = max(longest, len(row.trail))
                assert since is None or all(one.at >= since - 1.0 for one in row.trail), name
                if row.trail and row.requests:
                    assert row.trail[-1].requests == row.requests, name
    assert MOST_POINTS / 2 < longest <= MOST_POINTS


def test_a_rejected_version_takes_its_trail_along() -> None:
    snapshots = [read_snapshot(one) for one in film(stories.bad_candidate)[-1].snapshots]
    (rejected,) = (one for one in snapshots if one.rejected)
    (errors,) = (row for row in map(read_metric, rejected.metrics) if row.name == "errors")
    assert errors.trail[-1].requests == errors.requests
    assert errors.fails_at == (1.0,)
