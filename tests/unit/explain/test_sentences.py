"""What is said of statuses that are written by hand; test_stories.py has those that the planner writes."""

from dataclasses import replace

import pytest

from serin.api import names
from serin.api.conditions import ConditionType, Reason
from serin.api.json import JsonObject
from serin.api.split import Split
from serin.api.state import ManualRollback, MetricStatus, Phase, RollbackRecord, StageState, Status, VersionStatus
from serin.explain.sentences import explain, headline, requests_left, seconds_left, waiting
from tests.unit.explain.rig import BAKING, ERRORS, NEW, NOW, OLD, READY, SERVING, TITLES, facts, rollout, said

AWAY = said(ConditionType.READY, False, Reason.ROUTER_NOT_READY, "no router pod is ready")
DOWN = said(ConditionType.READY, False, Reason.STABLE_UNAVAILABLE, "none of its pods is ready")


def told(status: Status | None, **given: object) -> str:
    return "\n".join(explain(facts(status, **given)))  # type: ignore[arg-type]


def test_evidence_that_is_late_is_said_with_what_to_do() -> None:
    message = "every metric that decides has data; Prometheus' clock is at least 30 s ahead of Serin's"
    late = said(ConditionType.EVIDENCE_AVAILABLE, True, Reason.CLOCK_SKEWED, message)
    in_time = said(ConditionType.EVIDENCE_AVAILABLE, True, Reason.EVIDENCE_AVAILABLE, "every metric has data")
    words = f"The evidence: {message}. Let NTP set the clocks of the nodes"
    assert words in told(replace(BAKING, conditions=(READY, late)))
    assert "The evidence:" not in told(replace(BAKING, conditions=(READY, in_time)))


def test_what_no_step_moves_is_said_while_there_are_steps() -> None:
    container = {
        "name": "model",
        "image": "i",
        "ports": [{"containerPort": 8080}, {"containerPort": 9, "name": "admin"}],
    }
    extra: JsonObject = {"template": {"spec": {"containers": [container]}}}
    extra["service"] = {"extraPorts": [{"name": "admin", "port": 90}]}
    words = f"Whoever uses port 90 (admin) of the Service meets pods of {OLD} alone"
    assert words in told(BAKING, **extra)
    assert words not in told(SERVING, **extra)
    assert "Whoever uses port" not in told(BAKING)


LATENCY = {"name": "latency", "template": {"name": "request-latency"}, "severity": "major"}
TOKENS = {"name": "tokens", "mean": {"sum": "t_sum", "count": "t_count"}, "severity": "major"}
FAILED = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}


@pytest.mark.parametrize(
    ("replicas", "metrics", "words"),
    [
        (1, [FAILED, LATENCY, TOKENS], "what the version does (latency, tokens)."),
        (1, [FAILED, {**LATENCY, "severity": "info"}], ""),
        (2, [FAILED, LATENCY], ""),
    ],
    ids=["one pod", "nothing that a node moves", "two pods"],
)
def test_a_candidate_with_one_pod_is_told_what_that_does_to_the_promise(
    replicas: int, metrics: list[JsonObject], words: str
) -> None:
    one = replace(BAKING, versions={**BAKING.versions, NEW: VersionStatus("2", replicas, replicas, ("model",))})
    assert (words in told(one, metrics=metrics)) if words else ("has one pod" not in told(one, metrics=metrics))
    assert "has one pod" not in told(SERVING, metrics=metrics)


class TestHeadline:
    def test_before_the_operator_has_looked(self) -> None:
        assert headline(facts(None)) == "fraud: Serin has not looked at it yet"
        assert "look whether the operator runs: kubectl -n serin-system get pods" in told(None)

    def test_a_spec_that_the_operator_has_not_seen(self) -> None:
        unseen = facts(SERVING, generation=2, version="3")
        assert headline(unseen) == "fraud serves model 2; Serin has not looked at the newest spec yet"
        assert "The operator has not looked at the newest spec yet." in explain(unseen)[1]

    def test_a_spec_that_cannot_work_changes_nothing_that_serves(self) -> None:
        refused = replace(SERVING, reason="InvalidSpec", message="spec.config: rename one of them")
        invalid = facts(refused, config={"a-b": "1", "a_b": "2"})
        assert headline(invalid) == "fraud serves model 2; the new spec cannot work and changes nothing"
        assert "serin lint -f FILE" in " ".join(explain(invalid))
        assert invalid.invalid.startswith("spec.config: the keys a-b and a_b")

    def test_a_spec_that_only_the_operator_refuses_is_not_blamed_on_a_metric(self) -> None:
        refused = replace(SERVING, reason="InvalidSpec", message="spec.strategy.redBlack is unknown")
        assert headline(facts(refused)) == "fraud serves model 2; the spec cannot work as it is"
        missing = replace(SERVING, reason="MetricTemplateNotFound", message="metric cost: there is no such template")
        assert headline(facts(missing)) == "fraud serves model 2; a metric of the spec cannot work"

    @pytest.mark.parametrize("ago", [0.0, 90.0])
    def test_when_it_was_rolled_back(self, ago: float) -> None:
        last = RollbackRecord(NEW, OLD, "OverLimit", "errors: 4% is over 1%", NOW - ago)
        state = replace(SERVING.state, stable=OLD, split=Split({OLD: 100}), last_rollback=last)
        status = replace(SERVING, state=state, reason="RejectedContent", versions={OLD: VersionStatus("1", 4, 4)})
        words = "1m30s ago" if ago else "just now"
        assert headline(facts(status)) == f"fraud serves model 1; model 2 was rolled back {words} and is rejected"
        assert waiting(facts(status)) == "OverLimit: errors: 4% is over 1%"
        assert "serin retry fraud   try the same version again" in told(status)
        assert "kubectl serin retry fraud" in "\n".join(explain(facts(status), "kubectl serin"))

    def test_a_first_version_that_cannot_be_read(self) -> None:
        first = Status(observed_generation=1, reason="InvalidSpec", message="spec.config: rename one of them")
        invalid = facts(first, config={"a-b": "1", "a_b": "2"})
        assert headline(invalid) == "fraud starts its first version, the first one; nothing serves yet"

    @pytest.mark.parametrize(
        ("weight", "reason", "words"),
        [
            (0, "CandidateStarting", "model 1 serves all requests; clients reach neither of them"),
            (25, "Baking", "model 1 serves the rest; clients reach neither of them"),
            (0, "StableUnavailable", "model 1, which should serve all requests, is down"),
            (25, "StableUnavailable", "model 1, which should serve the rest, is down"),
        ],
    )
    def test_a_rollout_while_clients_are_not_served(self, weight: int, reason: str, words: str) -> None:
        state = replace(BAKING.state, split=Split({OLD: 100 - weight, NEW: weight}))
        what = "tries model 2 on 25% of the requests" if weight else "brings up model 2"
        status = replace(BAKING, state=state, reason=reason, conditions=(AWAY,))
        assert headline(facts(status)) == f"fraud {what}; {words}"

    @pytest.mark.parametrize(
        ("moved", "condition", "words"),
        [
            (None, READY, "; model 2 serves until its pods are ready"),
            (None, DOWN, "; model 2, which should serve until then, is down"),
            (
                None,
                AWAY,
                "; model 2 serves until its pods are ready; clients reach neither of them",
            ),
            (NOW, READY, ", which gets all requests now"),
            (NOW, AWAY, ", which gets all requests now; clients reach neither of them"),
        ],
    )
    def test_a_manual_rollback(self, moved: float | None, condition: JsonObject, words: str) -> None:
        state = replace(SERVING.state, phase=Phase.ROLLING_BACK, manual_rollback=ManualRollback(OLD, NOW, moved))
        status = replace(SERVING, state=state, versions=BAKING.versions, conditions=(condition,))
        assert headline(facts(status)) == f"fraud goes back to model 1{words}"

    def test_clients_that_are_not_served(self) -> None:
        down, away = (
            facts(replace(SERVING, reason=one["reason"], message=one["message"], conditions=(one,)))
            for one in (DOWN, AWAY)
        )
        assert headline(down) == "fraud is down: none of its pods is ready"
        assert headline(away) == "clients do not reach fraud: no router pod is ready"
        assert explain(away)[1:] == [
            "Why: RouterNotReady: no router pod is ready.",
            "What to do: kubectl -n serin-system get pods -l app.kubernetes.io/name=serin-router",
        ]


def test_what_stalls_it_is_named_also_when_something_else_matters_more() -> None:
    words = "metric cost: there is no MetricTemplate cost-per-answer in shop"
    stalled = said(ConditionType.STALLED, True, Reason.METRIC_TEMPLATE_NOT_FOUND, words)
    status = replace(SERVING, reason="RouterNotReady", message="no router pod is ready", conditions=(AWAY, stalled))
    assert f"In the way as well: MetricTemplateNotFound: {words}." in told(status)
    assert "What to do about that: Create the MetricTemplate in" in told(status)
    alone = replace(SERVING, reason=stalled["reason"], message=words, conditions=(READY, stalled))
    assert f"Why: MetricTemplateNotFound: {words}." in told(alone)
    assert "In the way as well" not in told(alone)


class TestWhatIsLeft:
    def test_time_counts_down_by_the_clock_of_the_reader(self) -> None:
        assert seconds_left(facts(BAKING, now=NOW + 18)) == 42.0
        assert "; 42s left" in waiting(facts(BAKING, now=NOW + 18))
        assert "42s of that are left" in told(BAKING, now=NOW + 18)
        assert seconds_left(facts(BAKING, now=NOW + 600)) == 0.0
        assert waiting(facts(BAKING, now=NOW + 600)) == "Baking: step 2 bakes for 5m at 25%"
        assert "that time is over" in told(BAKING, now=NOW + 600)

    def test_requests_of_the_verdict_and_of_the_stage(self) -> None:
        status = replace(BAKING, metrics=(replace(ERRORS, needed=1500),))
        assert requests_left(facts(status)) == 1500
        assert waiting(facts(status)).endswith("; 1m and about 1,500 more candidate requests left")
        least = replace(BAKING, stage=replace(BAKING.stage, min_requests=2000, requests=312))
        assert requests_left(facts(least)) == 1688
        assert "It has 312 of the 2,000 requests that minRequests asks for." in told(least)

    @pytest.mark.parametrize(("severity", "verdict"), [("minor", "Inconclusive"), ("critical", "Pass")])
    def test_what_nothing_waits_for_needs_no_requests(self, severity: str, verdict: str) -> None:
        status = replace(BAKING, metrics=(replace(ERRORS, severity=severity, verdict=verdict, needed=1500),))
        assert requests_left(facts(status)) == 0

    def test_what_comes_next(self) -> None:
        told_now = told(BAKING)
        assert "Step 2 of 4 is 25% for 5m; 1m of that are left. After it comes step 3, pause until approved" in told_now
        last = replace(BAKING, stage=replace(BAKING.stage, titles=TITLES[:2]))
        assert "After it comes the promotion, once every critical and major metric has passed" in told(last)
        entered = rollout(BAKING, stage=StageState(1, NOW - 5))
        assert "is 25% for 5m; it begins when the candidate's pods are ready for it." in told(entered)


class TestApproval:
    STATUS = replace(
        BAKING,
        state=replace(BAKING.state, phase=Phase.PAUSED),
        reason="WaitingForApproval",
        message="paused until approved: kubectl annotate md fraud serin.dev/approve=$(date +%s) --overwrite",
        stage=replace(BAKING.stage, position="3/4", index=2, approval=True),
    )

    def test_it_is_asked_for_with_this_program(self) -> None:
        assert headline(facts(self.STATUS)).endswith("; it waits for approval")
        assert waiting(facts(self.STATUS)) == "WaitingForApproval: paused until approved"
        assert "serin approve fraud   go on now" in told(self.STATUS)
        assert "Step 2" not in told(self.STATUS)

    def test_it_is_offered_at_no_other_time(self) -> None:
        assert "serin approve" not in told(BAKING)


def test_who_paused_can_resume() -> None:
    paused = replace(BAKING, reason="PausedByUser", message=f"paused: remove the annotation {names.ANNOTATION_PAUSE}")
    held = told(paused, annotations={names.ANNOTATION_PAUSE: "true"})
    assert "PausedByUser: a person holds it where it is." in held
    assert "serin resume fraud    go on with the steps" in held
    assert "serin pause" not in held
    assert "serin pause fraud     hold it where it is" in told(BAKING, annotations={names.ANNOTATION_PAUSE: "false"})


class TestDeadlines:
    def test_of_the_whole_rollout(self) -> None:
        status = replace(BAKING, stage=replace(BAKING.stage, deadline=NOW + 3600))
        assert "If it is not promoted within 1h (maxDuration), it is rolled back." in told(status)
        assert "If it is not promoted at the next look (maxDuration)" in told(status, now=NOW + 3700)
        assert "maxDuration" not in told(BAKING)

    def test_of_the_pods(self) -> None:
        waits = rollout(BAKING, stage=StageState(1, NOW - 60))
        short = replace(waits, versions=waits.versions | {NEW: VersionStatus("2", 1, 2)})
        assert "If its pods are not ready within 9m (progressDeadline), it is rolled back." in told(short)
        assert "progressDeadline" not in told(waits), "they are all ready"
        late, none = NOW + 660, replace(waits, versions=waits.versions | {NEW: VersionStatus("2", 0, 2)})
        assert "not ready within 10m of their own creation (progressDeadline), it is rolled" in told(short, now=late)
        assert "If its pods are not ready at the next look (progressDeadline)" in told(none, now=late)

    @pytest.mark.parametrize(
        ("action", "words"),
        [
            ("Hold", "Without data it holds for as long as it takes (onNoData: Hold)."),
            ("Rollback", "Without any data for 30m it is rolled back (onNoData)."),
        ],
    )
    def test_of_silence(self, action: str, words: str) -> None:
        silent = MetricStatus("errors", "critical", "NoData", "NoTraffic", "no requests")
        analysis = {
            "falseRollbackRate": {"critical": "0.01", "minor": "0.05"},
            "minimumDetectableEffect": "2",
            "onNoData": {"action": action, "after": "30m"},
        }
        status = replace(BAKING, metrics=(silent,))
        assert words in told(status, analysis=analysis)
        assert "What to do about errors: Send requests to the Service fraud" in told(status)
        assert "onNoData" not in told(replace(BAKING, metrics=(replace(silent, severity="minor"),)))

    @pytest.mark.parametrize(("moved", "ends"), [(None, True), (NOW - 1, False)])
    def test_of_a_manual_rollback(self, moved: float | None, ends: bool) -> None:
        asked = ManualRollback(OLD, NOW - 120, moved)
        state = replace(SERVING.state, phase=Phase.ROLLING_BACK, manual_rollback=asked)
        status = replace(SERVING, state=state, reason="RollingBack", versions=BAKING.versions)
        assert ("If its pods are not ready within 8m (progressDeadline), model 2 stays." in told(status)) is ends
        assert "serin abort fraud   stay with model 2" in told(status)


class TestTrouble:
    def test_too_little_traffic(self) -> None:
        low = said(ConditionType.POLICY_FEASIBLE, False, Reason.TRAFFIC_TOO_LOW, "step 1 takes 9h instead of 5m")
        status = replace(BAKING, conditions=(*BAKING.conditions, low))
        assert "The traffic is too low for these steps: step 1 takes 9h instead of 5m." in told(status)
        assert "Write larger shares and see what they change: serin rehearse -f FILE --from-cluster." in told(status)
        assert "too low" not in told(replace(SERVING, conditions=(*SERVING.conditions, low))), "nothing is under way"

    def test_infrastructure_is_said_once(self) -> None:
        status = replace(BAKING, trouble="Infrastructure", trouble_message="the node of every pod is gone")
        words = "It is the infrastructure, not the candidate: the node of every pod is gone."
        assert words in told(status)
        assert words not in told(replace(status, message="the node of every pod is gone"))

    def test_the_route(self) -> None:
        refused = said(ConditionType.ROUTED, False, Reason.ROUTE_REFUSED, "the router refused its configuration")
        status = replace(BAKING, conditions=(*BAKING.conditions, refused))
        assert "The route: the router refused its configuration. The router goes on with what it had." in told(status)
        assert "The route:" not in told(replace(status, reason="RouteRefused")), "which is why it waits, as said above"

    def test_pods_words_are_repeated_unless_they_are_said(self) -> None:
        short = replace(BAKING, versions=BAKING.versions | {NEW: VersionStatus("2", 1, 2)})
        problem = "pod fraud-x: container model is waiting: ImagePullBackOff"
        assert f"1 of 2 pods of candidate (model 2) are ready: {problem}." in told(short, problems={NEW: problem})
        assert "1 of 2 pods of candidate (model 2) are ready." in told(replace(short, message=f"stuck: {problem}"))
        counted = replace(short, reason="WaitingForCapacity", message="1 of 2 candidate pods are ready for 25%")
        assert "pods of candidate" not in told(counted)
        assert f"1 of 2 pods of candidate (model 2) are ready: {problem}." in told(counted, problems={NEW: problem})
        state = replace(SERVING.state, phase=Phase.ROLLING_BACK, manual_rollback=ManualRollback(OLD, NOW))
        back = replace(SERVING, state=state, versions={NEW: VersionStatus("2", 3, 4), OLD: VersionStatus("1", 1, 4)})
        assert "3 of 4 pods of stable (model 2) are ready." in told(back)
        assert "1 of 4 pods of the earlier version (model 1) are ready." in told(back)


class TestMetrics:
    @pytest.mark.parametrize(
        ("severity", "verdict", "words"),
        [
            ("critical", "Pass", "passes: as good."),
            ("critical", "Inconclusive", "cannot tell yet: as good."),
            ("critical", "FailCritical", "fails badly: as good; that rolls the candidate back."),
            ("major", "FailMinor", "fails: as good; that rolls the candidate back."),
            ("minor", "FailMinor", "fails: as good; a minor metric holds the rollout."),
            ("minor", "Pass", "passes: as good; nothing waits for it."),
            ("info", "FailCritical", "fails badly: as good; it is only shown."),
            ("info", "NoData", "has no data: as good; nothing waits for it."),
            ("critical", "Unheard", "Unheard: as good."),
        ],
    )
    def test_what_each_verdict_means(self, severity: str, verdict: str, words: str) -> None:
        status = replace(BAKING, metrics=(MetricStatus("errors", severity, verdict, "NotWorse", "as good"),))
        assert f"Metric errors ({severity}): {words}" in told(status)

    def test_none_was_read_yet(self) -> None:
        status = replace(BAKING, metrics=())
        assert "No metric has been read yet: the first look at Prometheus comes with the next tick." in told(status)

    def test_nothing_is_waited_for_when_a_person_promotes(self) -> None:
        skipped = replace(BAKING, stage=replace(BAKING.stage, index=4))
        forced = rollout(skipped, stage=StageState(4, NOW, forced=True))
        forced = replace(
            forced, state=replace(forced.state, phase=Phase.PROMOTING), stage=replace(BAKING.stage, index=4)
        )
        assert headline(facts(forced)).startswith("fraud promotes model 2, as a person asked: all pods first")
        assert "A person asked to promote it, so it waits for no evidence." in told(forced)
        assert "Metric errors" not in told(forced)
        assert "serin promote" not in told(forced)


def test_an_earlier_rollback_is_remembered() -> None:
    last = RollbackRecord(OLD, NEW, "AbortedByUser", "a person ended it", NOW - 3600)
    status = replace(SERVING, state=replace(SERVING.state, last_rollback=last))
    assert "Nothing is under way: the spec describes what serves." in told(status)
    assert f"The last rollback was 1h ago: {OLD}, AbortedByUser: a person ended it." in told(status)


def test_what_a_newer_operator_says_is_repeated_as_it_is() -> None:
    status = replace(BAKING, reason="SomethingNew", message="the operator knows")
    assert "Why: SomethingNew: the operator knows." in told(status)
    assert "What to do" not in told(status)
