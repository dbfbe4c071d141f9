"""Reports of the planner's own stories: what was kept is told, and what was not is not guessed."""

from dataclasses import replace

import pytest

from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.state import ClientRequests
from serin.explain.document import markdown, webpage
from serin.explain.report import Note, Rollback, notes_of, report, rollbacks, shield_of
from tests.narratives import holdbacks, retrainings, stories
from tests.narratives.film import Frame, film


def end(story: object) -> tuple[Frame, dict[str, Snapshot]]:
    frame = film(story)[-1]  # type: ignore[arg-type]
    return frame, {one.name: one for one in map(read_snapshot, frame.snapshots)}


def newest(story: object) -> Rollback:
    frame, snapshots = end(story)
    return rollbacks(frame.facts.state, snapshots)[0]


def test_a_bad_candidate_has_all_of_it() -> None:
    frame, _ = end(stories.bad_candidate)
    found = newest(stories.bad_candidate)
    assert found.target is not None
    assert found.target.name == frame.facts.state.stable
    text = markdown(report("fraud", found, (), shield_of(frame.body)))
    for words in ("time to detect, from the first bad request", "was asked", "errors", "Changed: ", "## Notes"):
        assert words in text
    assert "Diagnosis: BadModel. The stable version served its share of the requests well" in text
    assert "Changed: model.\n" in text
    assert "Z | -10s | - | requests are counted from here on |" in text
    assert "has asked to try" not in text
    again = replace(found, record=replace(found.record, retried=True))
    assert "A person has asked to try the version again since." in markdown(report("fraud", again, ()))
    assert "No Events are known" in text


def test_the_metric_that_decided_is_drawn() -> None:
    page = report("fraud", newest(holdbacks.holdback_falls_back_to_the_best), ())
    told = markdown(page).split("## What the metrics said")[1].split("##")[0]
    assert "a failure begins at 1x; a Pass rules out 2x" in told
    assert told.count("```") == 2
    assert told.count("•") > 10
    assert webpage(page).count("<svg") == 1
    assert "•" not in markdown(report("fraud", newest(stories.bad_candidate), ())), "one look is no plot"


def test_what_a_person_ended_has_no_numbers_of_a_metric() -> None:
    found = newest(stories.aborted_by_user)
    text = markdown(report("fraud", found, ()))
    assert "time to detect, from the first bad request" not in text
    assert "| estimate | " not in text.split("## Requests")[0]
    assert "did not see it" not in text
    assert "The router's shield" not in text


def test_an_older_rollback_is_known_by_its_snapshots() -> None:
    """The status has the last one alone."""
    frame, snapshots = end(stories.bad_candidate)
    state = frame.facts.state
    assert state.last_rollback is not None
    forgotten = replace(state, last_rollback=replace(state.last_rollback, source="fraud-another"))
    [found] = rollbacks(forgotten, snapshots)
    [known] = rollbacks(state, snapshots)
    assert (found.source, found.target) == (known.source, known.target)
    assert found.record.reason == known.record.reason
    assert found.record.at == pytest.approx(known.record.at, abs=0.001)
    [other_way_round] = rollbacks(forgotten, dict(reversed(snapshots.items())))
    assert other_way_round.target == known.target, "what it went to, in whatever order they are listed"


@pytest.mark.parametrize("older_first", [False, True])
def test_the_newest_rollback_comes_first(older_first: bool) -> None:
    frame, snapshots = end(stories.bad_candidate)
    last = frame.facts.state.last_rollback
    assert last is not None
    older = replace(snapshots[last.source], name="fraud-older", rolled_back=last.at - 1000.0)
    listed = {older.name: older, **snapshots} if older_first else {**snapshots, older.name: older}
    assert [one.source.name for one in rollbacks(frame.facts.state, listed)] == [last.source, "fraud-older"]


def test_a_timeline_is_of_the_version_and_has_the_newest_of_what_was_told() -> None:
    found = newest(stories.bad_candidate)
    began, ended = found.source.created, found.record.at
    told = [Note(began - 3600.0, "Serving", "long before"), Note(ended + 3600.0, "Serving", "long after")]
    told += [Note(began - 30.0, "Serving", "just before"), Note(ended + 600.0, "Serving", "just after")]
    text = markdown(report("fraud", found, told))
    assert [one for one in ("long before", "just before", "just after", "long after") if one in text] == [
        "just before",
        "just after",
    ]
    many = [Note(ended + number, "Serving", f"number {number} of them") for number in range(100)]
    text = markdown(report("fraud", found, many))
    assert [number for number in range(100) if f"number {number} of them" in text] == list(range(40, 100))


@pytest.mark.parametrize(
    ("shield", "words"),
    [
        ("Failures", "The router's shield was on: stable answered what the version failed"),
        ("Off", "The router's shield was at Off, so clients saw failures of the version."),
    ],
)
def test_what_the_shield_did_for_clients(shield: str, words: str) -> None:
    text = markdown(report("fraud", newest(stories.bad_candidate), (), shield))
    assert words in text
    assert text.count("The router's shield") == 1


def test_what_the_version_was_for_clients_is_told_or_said_to_be_unknown() -> None:
    found = newest(stories.bad_candidate)
    text = markdown(report("fraud", found, ()))
    assert "failed or were shielded is not known." in text
    assert "How many users that were is not known: the router counts requests, not users." in text
    at = found.record.at
    assert found.record.since is not None
    whole = ClientRequests(1200, 3, 46, found.record.since, at + 20.0)
    text = markdown(report("fraud", replace(found, record=replace(found.record, clients=whole)), ()))
    assert "1,200 requests of clients: 3 failed for them, and stable answered 46 in its place." in text
    assert "| requests of clients exposed to it | 1,200 |" in text
    assert "Not counted is what was before" not in text
    part = replace(whole, since=found.record.since + 60.0)
    text = markdown(report("fraud", replace(found, record=replace(found.record, clients=part)), ()))
    assert "Not counted is what was before, since 20" in text


def test_a_retraining_that_was_begun_since_is_told_with_the_newest_rollback() -> None:
    frame, snapshots = end(retrainings.rollbacks_in_a_row_ask_for_a_retraining)
    kept = frame.facts.state.retraining
    assert kept is not None
    assert kept.run is not None
    first, *older = rollbacks(frame.facts.state, snapshots)
    told = markdown(report("fraud", first, ()))
    assert f"Retraining {kept.run.name} was begun " in told
    assert f"; so far: {kept.run.phase}." in told
    assert older
    assert "Retraining" not in markdown(report("fraud", older[0], ())).split("## Numbers")[0]
    earlier = replace(kept, run=replace(kept.run, at=first.record.at - 60.0))
    [again, *_] = rollbacks(replace(frame.facts.state, retraining=earlier), snapshots)
    assert again.retraining is None


def test_a_version_whose_way_back_is_forgotten_is_told_without_a_comparison() -> None:
    found = replace(newest(stories.bad_candidate), target=None)
    text = markdown(report("fraud", found, ()))
    assert "The version that it went back to is not known any more." in text
    assert "What was measured" not in text


def test_events_without_a_time_are_left_out_and_the_others_come_in_order() -> None:
    events = [
        {"eventTime": "2026-01-01T00:00:02.000000Z", "reason": "B", "note": "later"},
        {"eventTime": None, "reason": "C"},
        {"eventTime": "2026-01-01T00:00:01.000000Z", "reason": "A", "note": "first"},
        {"reason": "D", "deprecatedFirstTimestamp": "2026-01-01T00:00:03Z"},
    ]
    assert [one.reason for one in notes_of(events)] == ["A", "B", "D"]
