"""Is the number that the user's own PromQL gives outside its limits, look after look?

A plain threshold: NO ERROR GUARANTEE, and the message says so. Noise around a limit fails sooner or later; asking for
several looks in a row (`consecutive`) only makes it later. It exists because some numbers have no counts behind them,
such as memory or temperature. For ratios and histograms there are better methods.
"""

import math
from dataclasses import dataclass

from serin.analysis import text
from serin.analysis.evidence import Evidence, Kind, Unusable, number, proven
from serin.analysis.types import MetricVerdict, Policy, ValueTick
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict


@dataclass(frozen=True, slots=True)
class State:
    """The newest value, how many looks in a row were outside the limits, and the failure if it came to that."""

    at: float
    value: float
    outside: int
    failed: str


def fold(policy: Policy, before: State | None, tick: ValueTick) -> State:
    """The state after `tick`."""
    if not math.isfinite(tick.value):
        raise Unusable(Reason.NOT_A_NUMBER, f"the query's value is {tick.value}")
    outside = 0 if _within(policy, tick.value) else 1 + (before.outside if before else 0)
    failed = before.failed if before else ""
    if outside >= policy.consecutive:
        failed = (Verdict.FAIL_CRITICAL if policy.severity is Severity.CRITICAL else Verdict.FAIL_MINOR).value
    return State(tick.at, tick.value, outside, failed)


def _within(policy: Policy, value: float) -> bool:
    """Whether the value keeps to its limits."""
    maximum = _maximum(policy)
    return (maximum is None or value <= maximum) and (policy.minimum is None or value >= policy.minimum)


def judge(policy: Policy, state: State) -> MetricVerdict:
    """The verdict now; the estimate is the newest value, and there is no log evidence."""
    kind, reason = Verdict.PASS, Reason.NOT_WORSE
    if state.failed:
        kind, reason = Verdict(state.failed), Reason.OVER_LIMIT
    elif state.outside:
        kind, reason = Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE
    message = f"the value is {text.number(state.value)}, {_limits(policy)}{_looks(policy, state)} (no error guarantee)"
    limits = (policy.minimum, _maximum(policy))
    return MetricVerdict(
        policy.metric,
        policy.severity,
        kind,
        reason,
        message,
        estimate=state.value,
        at=state.at,
        unit="",
        fails_at=tuple(one for one in limits if one is not None),
    )


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.VALUE.value,
        "at": state.at,
        "value": state.value,
        "outside": state.outside,
        "failed": state.failed,
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    return State(number(evidence, "at"), number(evidence, "value"), int(number(evidence, "outside")), proven(evidence))


def _maximum(policy: Policy) -> float | None:
    """`limit` is another name for `maximum`."""
    return policy.limit if policy.maximum is None else policy.maximum


def _limits(policy: Policy) -> str:
    maximum, parts = _maximum(policy), []
    if policy.minimum is not None:
        parts.append(f"at least {text.number(policy.minimum)}")
    if maximum is not None:
        parts.append(f"at most {text.number(maximum)}")
    return f"allowed is {' and '.join(parts)}" if parts else "it has no limits"


def _looks(policy: Policy, state: State) -> str:
    if state.failed:
        return f", and it was outside for {policy.consecutive} looks in a row"
    return f", outside for {state.outside} of {policy.consecutive} looks in a row" if state.outside else ""
