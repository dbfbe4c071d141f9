"""What `status`, `explain` and `history` say of retraining: the one under way, or how the newest one has ended."""

from collections.abc import Iterator

from serin.api.conditions import ConditionType
from serin.api.retraining import Retraining, Run, RunPhase
from serin.api.times import human
from serin.explain.advice import advice
from serin.explain.facts import Facts


def line(facts: Facts) -> str:
    """The newest retraining in a sentence; "" when there was none."""
    kept = facts.state.retraining
    if kept is None or kept.run is None:
        return ""
    run = kept.run
    why = f"{run.cause.trigger}, {_ago(facts, run.at)}"
    if run.phase is RunPhase.REQUESTED and run.message:
        return f"Retraining {run.name} ({why}) cannot begin: {run.message}"
    if run.phase is RunPhase.REQUESTED:
        return f"Retraining {run.name} ({why}) begins: {run.cause.message}"
    if run.phase is RunPhase.RUNNING:
        return f"Retraining {run.name} ({why}) is under way, by the Job of that name: {run.cause.message}"
    return _ended(facts, run, why)


def sentences(facts: Facts, serin: str) -> Iterator[str]:
    """The same for `explain`, with what one can do and when the next one may begin."""
    kept = facts.state.retraining
    if told := line(facts):
        yield told if told.endswith((".", "!", "?")) else f"{told}."
    if kept is None:
        return
    reason = facts.condition(ConditionType.RETRAINING).reason
    if found := advice(reason, facts.name, facts.namespace, serin):
        yield f"What to do about the retraining: {found}"
    if waits := _cooldown(facts, kept):
        yield waits


def _ended(facts: Facts, run: Run, why: str) -> str:
    when = "" if run.ended is None else f" {_ago(facts, run.ended)}"
    match run.phase:
        case RunPhase.SUCCEEDED:
            return f"Retraining {run.name} ({why}) succeeded{when}: {run.cause.message}"
        case RunPhase.DELIVERED:
            return f"Retraining {run.name} ({why}) was handed over{when}: {run.message}; its cause: {run.cause.message}"
    verb = "failed" if run.phase is RunPhase.FAILED else "was cancelled"
    return f"Retraining {run.name} ({why}) {verb}{when}: {run.message}; its cause: {run.cause.message}"


def _cooldown(facts: Facts, kept: Retraining) -> str:
    spec, run = facts.spec.retraining if facts.spec else None, kept.run
    if spec is None or run is None or run.ended is None:
        return ""
    left = run.ended + spec.cooldown - facts.now
    return f"The next retraining begins in {human(left)} at the earliest (cooldown)." if left > 0 else ""


def _ago(facts: Facts, at: float) -> str:
    seconds = facts.now - at
    return f"{human(seconds)} ago" if seconds >= 1 else "just now"
