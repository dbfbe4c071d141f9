"""Which earlier version is the best, and what becomes of it when it cannot run."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from serin.analysis.types import Arm, RatioTick, Tick
from serin.api import names
from serin.api.records import Measurement, Occasion, Record
from serin.api.snapshots import Snapshot
from serin.api.spec import MeanQuery, Metric, TemplateRef, ValueQuery, query_of
from serin.api.split import all_to
from serin.api.state import Phase, RollbackRecord, State
from serin.api.status import read_state
from serin.api.verdicts import Against, Severity, SnapshotVerdict
from serin.evaluation.samples import SampleRequest
from serin.rollout.snapshots import BEST, CannotGoBack, best_first, choose, record_in_words
from tests.narratives.world import World, spec

ERRORS = Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE)
LATENCY = Metric("latency", TemplateRef("request-latency"), Severity.MAJOR, Against.STABLE)
REWARD = Metric("reward", MeanQuery("s", "c"), Severity.MINOR, Against.STABLE, lower_is_worse=True)
STATE = State(Phase.HEALTHY, stable="f-9", split=all_to("f-9"))


def measured(metric: Metric, value: float, high: float | None = None, unit: str = "share", at: float = 1.0) -> Record:
    low = None if high is None else 0.0
    row = Measurement(metric.name, value, low, high, 1000, unit, 0.0, at, query_of(metric.source))
    return Record(at, Occasion.PROMOTED, metrics=(row,))


def good(name: str, *records: Record, promoted: float = 1.0, **more: object) -> Snapshot:
    body = Snapshot(name, name, "1", 0.0, {}, {}, verdict=SnapshotVerdict.PROMOTED, promoted=promoted, records=records)
    return replace(body, **more)  # type: ignore[arg-type]


def ordered(*snapshots: Snapshot, metrics: tuple[Metric, ...] = (LATENCY, ERRORS), metric: str = "") -> list[str]:
    known = {one.name: one for one in snapshots}
    found, _ = best_first(known, STATE, metrics, metric)
    return [one.name for one in found]


class TestOrder:
    def test_by_the_most_severe_metric_of_which_there_is_a_record(self) -> None:
        slow_and_right = good("f-1", measured(ERRORS, 0.001), measured(LATENCY, 2.0, unit="s"))
        quick_and_wrong = good("f-2", measured(ERRORS, 0.02), measured(LATENCY, 0.1, unit="s"), promoted=2.0)
        assert ordered(quick_and_wrong, slow_and_right) == ["f-1", "f-2"]
        assert ordered(quick_and_wrong, slow_and_right, metric="latency") == ["f-2", "f-1"]
        assert ordered(quick_and_wrong, slow_and_right, metrics=(LATENCY,)) == ["f-2", "f-1"]

    def test_a_few_good_requests_are_no_proof(self) -> None:
        lucky, proven = good("f-1", measured(ERRORS, 0.0, 0.3), promoted=2.0), good("f-2", measured(ERRORS, 0.01, 0.02))
        assert ordered(lucky, proven) == ["f-2", "f-1"]

    def test_without_a_record_after_all_that_have_one_and_then_the_newest(self) -> None:
        bad = good("f-1", measured(ERRORS, 0.9))
        bare = [good(f"f-{one}", promoted=float(one)) for one in (2, 4, 3)]
        assert ordered(*bare, bad) == ["f-1", "f-4", "f-3", "f-2"]
        assert ordered(*bare) == ["f-4", "f-3", "f-2"]

    def test_ties_go_to_the_one_that_was_stable_last_whatever_the_order(self) -> None:
        same = [good(f"f-{one}", measured(ERRORS, 0.01), promoted=float(one % 3)) for one in range(6)]
        dice = random.Random(1)
        for _ in range(10):
            dice.shuffle(same)
            assert ordered(*same) == ["f-5", "f-2", "f-4", "f-1", "f-3", "f-0"]

    def test_the_newest_record_counts(self) -> None:
        decayed = good("f-1", measured(ERRORS, 0.001, at=1.0), measured(ERRORS, 0.2, at=9.0))
        steady = good("f-2", measured(ERRORS, 0.01))
        assert ordered(decayed, steady) == ["f-2", "f-1"]

    def test_records_of_another_query_or_unit_are_not_compared(self) -> None:
        other = replace(ERRORS, source=TemplateRef("other"))
        foreign = good("f-1", measured(other, 0.0))
        mine = good("f-2", measured(ERRORS, 0.5))
        assert ordered(foreign, mine) == ["f-2", "f-1"]
        share, seconds = measured(LATENCY, 0.001, at=1.0), measured(LATENCY, 0.3, unit="s", at=9.0)
        assert ordered(good("f-1", share), good("f-2", seconds), metrics=(LATENCY,)) == ["f-2", "f-1"]

    @pytest.mark.parametrize(
        ("metric", "better", "worse"),
        [
            (REWARD, 5.0, 4.0),
            (replace(REWARD, lower_is_worse=False), 4.0, 5.0),
            (replace(REWARD, source=ValueQuery("q", minimum=0.9)), 0.95, 0.91),
            (replace(REWARD, source=ValueQuery("q", maximum=3.0)), 1.0, 2.0),
            (replace(REWARD, source=ValueQuery("q", minimum=1.0, maximum=3.0)), 1.5, 3.1),
        ],
    )
    def test_what_is_better_depends_on_the_metric(self, metric: Metric, better: float, worse: float) -> None:
        pair = (
            good("f-1", measured(metric, better, unit="")),
            good("f-2", measured(metric, worse, unit=""), promoted=9.0),
        )
        assert ordered(*pair, metrics=(metric,)) == ["f-1", "f-2"]

    def test_never_a_rejected_one_and_never_the_present_one(self) -> None:
        best, present = good("f-1", measured(ERRORS, 0.0), rejected=True), good("f-9", measured(ERRORS, 0.0))
        never = good("f-3", measured(ERRORS, 0.0), verdict=SnapshotVerdict.SUPERSEDED)
        left = good("f-4", measured(ERRORS, 0.0))
        state = replace(STATE, last_rollback=RollbackRecord("f-4", "f-9", "OverLimit", "", 1.0))
        known = {one.name: one for one in (best, present, never, left, good("f-2", measured(ERRORS, 0.5)))}
        found, by = best_first(known, state, (ERRORS,))
        assert [one.name for one in found] == ["f-2"]
        assert record_in_words(found[0], by) == "errors 50%"


TWO_AND_STABLE = {
    "f-1": good("f-1", measured(ERRORS, 0.1)),
    "f-2": good("f-2", measured(ERRORS, 0.2)),
    "f-9": good("f-9"),
}


class TestChoice:
    def choice(
        self, asked: str, state: State = STATE, known: Mapping[str, Snapshot] = TWO_AND_STABLE
    ) -> tuple[str, ...]:
        return choose(asked, "f-9", "f-9", known, state, (ERRORS,))

    def test_the_best_and_then_the_next(self) -> None:
        assert self.choice(BEST) == self.choice("best:errors") == ("f-1", "f-2")
        assert self.choice("f-2") == ("f-2",), "whoever names a version means that one"

    def test_refused_with_what_to_write_instead(self) -> None:
        with pytest.raises(
            CannotGoBack, match=r"no metric cost in the spec\. Write best, or one of its metrics: errors"
        ):
            self.choice("best:cost")
        with pytest.raises(CannotGoBack, match="change the spec instead"):
            self.choice(BEST, known={"f-9": TWO_AND_STABLE["f-9"]})


RATES = {"1": 0.02, "2": 0.001, "3": 0.01, "4": 0.03}


def by_version(world: World, asked: SampleRequest) -> Tick:
    """Every version fails its own share; no metric can roll back, so each is promoted."""
    rates = [RATES[world.snapshots[one].model_version] for one in (asked.subject, asked.baseline or asked.subject)]
    return RatioTick(world.now, *(Arm(20_000, round(20_000 * one)) for one in rates))


def four_versions() -> tuple[World, dict[str, str]]:
    """Version 4 is stable; answers every snapshot's name by its version."""
    errors = [{"name": "errors", "template": {"name": "request-errors"}, "severity": "info"}]
    world = World(spec=spec("1", metrics=errors), sampler=by_version)
    world.run(20)
    named = {"1": world.wanted}
    for version in "234":
        named[version] = world.change(spec(version, metrics=errors))
        world.run(300)
        assert read_state(world.status).stable == named[version]
    return world, named


def test_back_to_the_best_and_not_to_the_one_before() -> None:
    world, named = four_versions()
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best@1")
    world.run(60)
    assert read_state(world.status).stable == named["2"]
    assert any("the user asks for the best earlier version, v2 (errors 0.1%)" in line for line in world.story)


@pytest.mark.more
def test_when_the_best_cannot_run_the_next_one_serves() -> None:
    world, named = four_versions()
    world.problems[named["2"]] = "pod fraud-a: container model is waiting: ImagePullBackOff"
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best:errors@1")
    world.run(700)
    assert read_state(world.status).stable == named["3"]
    assert any("v2 does not come back" in line and "The next one is v3" in line for line in world.said)
    assert not world.snapshots[named["2"]].rejected, "it served well, and its image may come back"


def test_when_none_can_run_the_present_one_stays_and_says_so() -> None:
    world, named = four_versions()
    world.problems |= {named[one]: "pod fraud-a: ImagePullBackOff" for one in "12"}
    world.refused[named["3"]] = "spec.containers[0].image: Required value"
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best@1")
    world.run(3000)
    assert read_state(world.status).stable == named["4"]
    assert world.weights == {named["4"]: 100}
    stalled = next(one for one in world.status["conditions"] if one["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "RollbackFailed")
    assert sum(line.split("] ")[-1].startswith("RollbackFailed") for line in world.said) == 3
    world.annotate(names.ANNOTATION_ROLLBACK_TO, None)
    world.run(10)
    assert world.status["reason"] == "Serving"


def test_one_that_is_deleted_meanwhile_is_left_out() -> None:
    world, named = four_versions()
    world.problems[named["2"]] = "pod fraud-a: ImagePullBackOff"
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best@1")
    world.run(30)
    del world.snapshots[named["3"]]
    world.run(700)
    assert read_state(world.status).stable == named["1"]


def test_asking_twice_goes_back_once() -> None:
    world, named = four_versions()
    for number in range(3):
        world.annotate(names.ANNOTATION_ROLLBACK_TO, f"best@{number}")
        world.run(60)
    assert read_state(world.status).stable == named["2"]


def test_during_a_rollout_stable_is_the_way_back() -> None:
    world, named = four_versions()
    world.change(spec("4", replicas=2, config={"a": "b"}))
    world.run(30)
    assert read_state(world.status).rollout
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "best@1")
    world.run(5)
    assert world.weights == {named["4"]: 100}
