"""Rows and cells: what a terminal and a web page draw alike."""

from dataclasses import replace

import pytest

from serin.api import names
from serin.api.conditions import ConditionType, Reason
from serin.api.histograms import Histogram
from serin.api.json import JsonObject
from serin.api.records import Measurement, Occasion, Record, write_records
from serin.api.signature import Signature, Tensor
from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.split import Split
from serin.api.state import ManualRollback, Phase, StageState, Status
from serin.explain import differences, tables
from serin.explain.snapshots import found_since, newest_first
from serin.explain.tables import NONE, Table, Tone
from tests.unit.explain.rig import BAKING, NEW, NOW, OLD, SERVING, facts, rollout, said

DOWN = said(ConditionType.READY, False, Reason.STABLE_UNAVAILABLE, "none of its pods is ready")
STUCK = said(ConditionType.STALLED, True, Reason.INVALID_SPEC, "the new spec cannot work")


def texts(table: Table | None) -> list[list[str]]:
    assert table
    assert {len(row) for row in table.rows} == {len(table.columns)}
    return [[cell.text for cell in row] for row in table.rows]


class TestStatus:
    def test_versions_with_what_they_really_get(self) -> None:
        measured = replace(BAKING, observed={OLD: "75.4%", NEW: "24.6%"})
        assert texts(tables.status(facts(measured)).versions) == [
            ["stable", "1", OLD, "75% (75.4% seen)", "4 of 4", ""],
            ["candidate", "2", NEW, "25% (24.6% seen)", "2 of 2", "model"],
        ]

    def test_a_version_that_a_person_asked_for(self) -> None:
        state = replace(SERVING.state, phase=Phase.ROLLING_BACK, manual_rollback=ManualRollback(OLD, NOW))
        view = tables.status(facts(replace(SERVING, state=state, versions=BAKING.versions)))
        assert texts(view.versions)[1] == ["going back", "1", OLD, "0%", "4 of 4", ""]

    @pytest.mark.parametrize(
        ("index", "words"),
        [
            (0, ["▶ 5% for 5m", "25% for 5m", "pause until approved", "50% for 5m", "promoted"]),
            (2, ["✓ 5% for 5m", "✓ 25% for 5m", "▶ pause until approved", "50% for 5m", "promoted"]),
            (4, ["✓ 5% for 5m", "✓ 25% for 5m", "✓ pause until approved", "✓ 50% for 5m", "▶ promoted"]),
        ],
    )
    def test_the_way_through_the_stages(self, index: int, words: list[str]) -> None:
        status = replace(rollout(BAKING, stage=StageState(index)), stage=replace(BAKING.stage, index=index))
        cells = tables.status(facts(status)).stages
        assert [one.text for one in cells] == words
        assert [one.text for one in cells if one.tone is Tone.STRONG] == [one for one in words if one[0] == "▶"]

    def test_stages_that_a_person_skips(self) -> None:
        forced = rollout(BAKING, stage=StageState(4, forced=True))
        assert [one.text for one in tables.status(facts(forced)).stages] == ["skipped, as a person asked", "▶ promoted"]

    def test_metrics_while_there_is_traffic(self) -> None:
        row = ["errors", "critical", "Inconclusive", NONE, NONE, "412", "GatheringEvidence: too few requests"]
        assert texts(tables.status(facts(BAKING)).metrics) == [row]
        without = replace(BAKING, state=replace(BAKING.state, split=Split({OLD: 100})))
        assert tables.status(facts(without)).metrics is None

    def test_what_does_not_apply_is_left_out(self) -> None:
        view = tables.status(facts(None))
        assert (view.versions, view.stages, view.metrics, view.waiting) == (None, (), None, "")
        assert tables.status(facts(SERVING)).stages == ()

    @pytest.mark.parametrize(
        ("status", "tone"),
        [
            (SERVING, Tone.GOOD),
            (BAKING, Tone.BUSY),
            (None, Tone.BUSY),
            (replace(SERVING, conditions=(*SERVING.conditions, STUCK)), Tone.UNSURE),
            (replace(SERVING, conditions=(DOWN,)), Tone.BAD),
        ],
    )
    def test_tones(self, status: Status | None, tone: Tone) -> None:
        assert tables.status(facts(status)).headline.tone is tone


def test_a_list_has_a_row_for_each_deployment() -> None:
    both = [facts(BAKING), facts(None)]
    assert texts(tables.listing(both, namespaces=True)) == [
        ["shop", "fraud", "model 1", "model 2", "25%", "2/4", "Inconclusive", "True", "Baking"],
        ["shop", "fraud", NONE, NONE, NONE, NONE, NONE, "Unknown", "NotSeenYet"],
    ]
    assert tables.listing(both, namespaces=False).columns[0] == "NAME"


def measured(name: str, value: float, unit: str, query: str = "q") -> Measurement:
    return Measurement(name, value, value / 2, value * 2, 1200, unit, 1.0, 2.0, query)


def recorded(name: str, created: str, hashes: JsonObject, **status: object) -> JsonObject:
    spec = {"content": {"model": {"version": name[-1]}}, "hashes": hashes}
    metadata = {"name": name, "uid": name, "resourceVersion": "1", "creationTimestamp": created}
    return {"metadata": metadata, "spec": spec, "status": status}


class TestHistory:
    SNAPSHOTS = (
        recorded(
            "f-1", "2023-11-14T21:00:00Z", {"model": "a", "config": "x"}, verdict="Promoted", promotedAt="nonsense"
        ),
        recorded(
            "f-3",
            "2023-11-14T22:00:00Z",
            {"model": "c", "config": "y"},
            verdict="RolledBack",
            reason="OverLimit",
            message="errors: 4%",
            promotedAt="2023-11-14T22:01:00Z",
            rejectedAt="2023-11-14T22:03:20Z",
            leftAt="2023-11-14T22:03:20Z",
            records=write_records(
                [
                    Record(1.0, Occasion.CREATED, revision="4f1c2ab8d1e09f", author="Ada"),
                    Record(2.0, Occasion.ROLLED_BACK, metrics=(measured("errors", 0.04, "share"),)),
                ]
            ),
        ),
        recorded("f-2", "2023-11-14T22:00:00Z", {"model": "b", "config": "x"}, verdict="Superseded"),
    )

    def test_newest_first_with_what_changed_and_what_was_decided(self) -> None:
        rows = tables.history(facts(SERVING), [read_snapshot(one) for one in self.SNAPSHOTS])
        assert texts(rows) == [
            [
                *("f-3", "3", NONE, "RolledBack", "10m ago", "2m20s", "model, config"),
                *("errors 4%", "4f1c2ab8d1e0", "13m20s", "OverLimit: errors: 4%"),
            ],
            ["f-2", "2", NONE, "Superseded", NONE, NONE, "model", NONE, NONE, "13m20s", ""],
            ["f-1", "1", NONE, "Promoted", NONE, NONE, NONE, NONE, NONE, "1h13m", ""],
        ]
        assert [row[3].tone for row in rows.rows] == [Tone.BAD, Tone.PLAIN, Tone.GOOD]

    def test_what_each_is_now(self) -> None:
        names = [one["metadata"]["name"] for one in self.SNAPSHOTS]
        state = replace(SERVING.state, stable=names[0], manual_rollback=ManualRollback(names[2], NOW))
        rows = tables.history(facts(replace(SERVING, state=state)), [read_snapshot(one) for one in self.SNAPSHOTS])
        assert [one[2] for one in texts(rows)] == [NONE, "going back", "stable"]

    def test_what_is_not_decided_yet(self) -> None:
        bare = read_snapshot({**self.SNAPSHOTS[0], "status": None})
        assert (bare.verdict, bare.promoted) == (None, None)
        assert newest_first([bare]) == [bare]


class TestDiff:
    def sides(self, *metrics: Measurement) -> tuple[Snapshot, Snapshot]:
        both = []
        for name, image, threshold in (("f-1", "model:1", "0.5"), ("f-2", "model:2", None)):
            container = {"name": "model", "image": image, "env": [{"name": "A", "value": "1"}]}
            config = {"threshold": threshold} if threshold else {"other": "x"}
            content = {
                "runtime": {"template": {"spec": {"containers": [container]}}, "port": 8080},
                "model": {"version": name[-1]},
                "config": config,
            }
            body = recorded(name, "2023-11-14T22:00:00Z", names.dimension_hashes(content), verdict="Promoted")
            body["spec"]["content"] = content
            row = Record(1.0, Occasion.PROMOTED, metrics=metrics, author="Ada")
            both.append(replace(read_snapshot(body), records=(row,), promoted=NOW - 60.0))
        return both[0], both[1]

    def test_every_field_that_differs_and_no_other(self) -> None:
        one, other = self.sides()
        assert differences.headline(one, other) == "f-1 and f-2 differ in: runtime, model, config"
        assert texts(differences.content(one, other, NOW)) == [
            ["MODEL", "1", "2"],
            ["VERDICT", "Promoted", "Promoted"],
            ["SERVED", "1m so far", "1m so far"],
            ["CREATED", "13m20s ago", "13m20s ago"],
            ["AUTHOR", "Ada", "Ada"],
            ["runtime: template.spec.containers[model].image", "model:1", "model:2"],
            ["model: version", "1", "2"],
            ["config: other", NONE, "x"],
            ["config: threshold", "0.5", NONE],
        ]
        assert differences.headline(one, one) == "they have the same content"
        assert differences.differences(one, one) == []

    def test_what_each_was_found_to_be(self) -> None:
        one, other = self.sides()
        x, age, y = Tensor("x", "FP32", (-1, 4)), Tensor("age", "INT64", (-1,)), Tensor("y", "FP32", (-1,))
        one = replace(one, signature=Signature((x, age), (y,)), fingerprint="aa", images={"model": "sha256:1"})
        wider = Tensor("x", "FP64", (-1, 4))
        other = replace(other, signature=Signature((wider,), (y,)), fingerprint="bb", images={"model": "sha256:2"})
        assert texts(differences.content(one, other, NOW))[5:9] == [
            ["GOLDEN PROBES", "aa", "bb"],
            ["INPUT x", "FP32 [-1, 4]", "FP64 [-1, 4]"],
            ["INPUT age", "INT64 [-1]", NONE],
            ["IMAGE model", "sha256:1", "sha256:2"],
        ]
        assert found_since(other, one) == ("signature", "answers to golden probes")
        assert found_since(one, one) == found_since(replace(one, signature=None, fingerprint=""), other) == ()

    def test_metrics_side_by_side(self) -> None:
        one, other = self.sides(measured("errors", 0.04, "share"), measured("latency", 0.04, "s"))
        older = Record(0.5, Occasion.SCHEDULED, metrics=(measured("errors", 0.9, "share"),))
        later = replace(other.records[0], metrics=(measured("errors", 0.01, "share", "another"),))
        other = replace(other, records=(older, later))
        assert texts(differences.metrics(one, other)) == [
            ["errors", "4% (2% to 8%), 1,200 requests", "1% (0.5% to 2%), 1,200 requests", differences.OTHER_QUERY],
            ["latency", "40ms (20ms to 80ms), 1,200 requests", NONE, ""],
        ]
        assert differences.metrics(replace(one, records=()), replace(other, records=())) is None

    def test_distributions_side_by_side(self) -> None:
        one, other = self.sides()
        assert differences.histograms(one, other) is None
        answers = Histogram("answers", ("legit", "fraud", "other"), (97, 3, 0), query="q")
        times = Histogram("latency", ("0.1", "1", "inf"), (5, 3, 2), ordered=True, unit="s", query="q")
        new = Histogram("answers", ("legit", "", "other"), (50, 25, 25), query="q")
        one = replace(one, records=(replace(one.records[0], histograms=(answers, times)),))
        other = replace(other, records=(replace(other.records[0], histograms=(new, replace(times, query="p"))),))
        assert texts(differences.histograms(one, other)) == [
            ["answers: legit", "97%", "50%", ""],
            ["answers: fraud", "3%", NONE, ""],
            ["answers: other", "0%", "25%", ""],
            ["answers: without the label", NONE, "25%", ""],
            ["latency: up to 0.1s", "50%", "50%", differences.OTHER_QUERY],
            ["latency: up to 1s", "30%", "30%", differences.OTHER_QUERY],
            ["latency: over 1s", "20%", "20%", differences.OTHER_QUERY],
        ]
