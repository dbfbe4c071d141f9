"""Whether a rollback has helped: what a promoted version was left for has to be mended by what everything went to.

Looked at are the limits of the version that serves now, over one window of the metric that had failed, and on its own
requests since it is stable. The metric passes and no other limit that counts is broken: it has recovered. Otherwise
that is told, and what else happens is the limits' affair (limits.py): another metric that fails is the target's own
fault and goes on to the next older version, the same one says that the data has drifted.
"""

from dataclasses import replace
from typing import Final

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.spec import Metric
from serin.api.state import RollbackRecord
from serin.api.times import human
from serin.api.verdicts import FAILURES, Severity, Verdict
from serin.rollout.plan_builder import PlanBuilder

# A look that is a little late is none that finds nothing.
_GRACE: Final = 60.0


def check_recovery(builder: PlanBuilder, stable: str) -> None:
    """Say once what came of the rollback to `stable`, in the status and an Event."""
    last, found = builder.state.last_rollback, builder.assessment.limits
    metric = _awaited(builder, stable, last)
    if last is None or metric is None:
        return
    rows = {one.metric: one for one in found.verdicts} if found else {}
    broken = next((one for one in rows.values() if _is_broken(one)), None)
    own, deadline = rows.get(metric.name), last.at + metric.label_delay + metric.seen_within + _GRACE
    if broken:
        _conclude(builder, last, Reason.NOT_RECOVERED, f"{broken.metric}: {broken.message}")
    elif own and own.verdict is Verdict.PASS:
        _conclude(builder, last, Reason.RECOVERED, f"{own.metric}: {own.message}")
    elif builder.seen.now >= deadline:
        said = own.message if own else "nothing was measured"
        why = f"{metric.name}: {said}; its window of {human(metric.seen_within)} is over"
        _conclude(builder, last, Reason.RECOVERY_NOT_SHOWN, why)
    else:
        builder.requeue_after(deadline - builder.seen.now)


def _awaited(builder: PlanBuilder, stable: str, last: RollbackRecord | None) -> Metric | None:
    """The metric that has to recover; None when nothing was left for one, or what came of it is said."""
    if last is None or last.outcome or last.target != stable or last.at != builder.state.stable_since:
        return None
    watched = builder.seen.deployment.spec.watched
    return next((one for one in watched if one.name == last.metric), None)


def _is_broken(one: MetricVerdict) -> bool:
    return one.verdict in FAILURES and one.severity is not Severity.INFO


def _conclude(builder: PlanBuilder, last: RollbackRecord, outcome: Reason, why: str) -> None:
    builder.update(last_rollback=replace(last, outcome=outcome.value, outcome_message=why))
    told = {
        Reason.RECOVERED: f"{last.target} has mended what {last.source} was left for",
        Reason.NOT_RECOVERED: f"the rollback from {last.source} to {last.target} has not helped",
        Reason.RECOVERY_NOT_SHOWN: f"nobody knows whether the rollback from {last.source} to {last.target} has helped",
    }
    builder.add_event(outcome, f"{told[outcome]}: {why}", warning=outcome is not Reason.RECOVERED)
