"""Validation before a rollback: the user's Job compares what is gone back to with what serves, for a bounded time.

It is asked when the pods of the target are ready, so that both answer. It never prolongs an outage: a critical breach
does not wait for it, nor does a person, nor a version without a ready pod; and `timeout` after the first Job was begun
the rollback goes on without it, however many targets there were. Only an answer that says so refuses a target. Then
the next older version is asked for.
"""

from dataclasses import replace
from enum import Enum, auto

from serin.api.conditions import Reason
from serin.api.names import validation_name
from serin.api.state import ManualRollback
from serin.api.times import human, rfc3339_whole
from serin.api.validation import NoAnswer, Outcome, Validation, ValidationSeen, ValidationSpec, read_answer
from serin.api.verdicts import Severity
from serin.rollout.limits import count_limits, critical_breach
from serin.rollout.model import CreateJob, Note
from serin.rollout.plan_builder import PlanBuilder


class Next(Enum):
    """What a rollback may do."""

    GO = auto()
    WAIT = auto()
    REFUSED = auto()


def validate(builder: PlanBuilder, asked: ManualRollback, stable: str) -> Next:
    """Whether everything may go to the target now; begins the validation, and says what is waited for."""
    seen, policy = builder.seen, builder.seen.deployment.spec.rollback.validation
    if asked.cause is None or policy is None or not seen.ready(stable) or _is_critical(builder, asked):
        return Next.GO
    known, begins = _of_this_target(builder, asked)
    if known.outcome:
        return Next.GO
    asked = replace(asked, validation=known)
    outcome, why = (None, "") if begins else _ended(seen.validation, known)
    if outcome is None:
        outcome, why = _given_up(builder, known, policy, begins=begins)
    if outcome is None:
        builder.update(manual_rollback=asked)
        _wait(builder, asked, stable, known, policy, begins=begins)
        return Next.WAIT
    _conclude(builder, asked, known, outcome, why)
    return Next.REFUSED if outcome is Outcome.REFUSED else Next.GO


def skip(builder: PlanBuilder, why: str) -> bool:
    """Validate the target that is on its way no more, or not at all. False when that was not to be."""
    asked = builder.state.manual_rollback
    if asked is None or asked.cause is None or builder.seen.deployment.spec.rollback.validation is None:
        return False
    known, _ = _of_this_target(builder, asked)
    if known.outcome or asked.moved is not None:
        return False
    _conclude(builder, asked, known, Outcome.SKIPPED, why)
    return True


def _conclude(builder: PlanBuilder, asked: ManualRollback, known: Validation, outcome: Outcome, why: str) -> None:
    builder.update(manual_rollback=replace(asked, validation=replace(known, outcome=outcome.value, message=why)))
    if outcome is Outcome.PASSED:
        builder.add_event(Reason.VALIDATED, f"{asked.target} is validated: {why}")
    elif outcome is Outcome.SKIPPED:
        builder.add_event(Reason.VALIDATION_SKIPPED, f"{asked.target} is not validated: {why}", warning=True)


def _of_this_target(builder: PlanBuilder, asked: ManualRollback) -> tuple[Validation, bool]:
    """The validation of the target, and whether it begins only now; its time is that of all targets together."""
    deployment, known = builder.seen.deployment, asked.validation
    # Not by when the rollback began: that moves when nobody has looked for a while (credit.py).
    since = known.since if known else builder.seen.now
    name = validation_name(deployment.name, [deployment.uid, asked.target, rfc3339_whole(since)])
    return (known, False) if known and known.name == name else (Validation(name, since), True)


def _is_critical(builder: PlanBuilder, asked: ManualRollback) -> bool:
    """Whether what the version is left for is critical; also when its metric is not there any more."""
    name = asked.cause.metric if asked.cause else ""
    metric = next((one for one in builder.seen.deployment.spec.metrics if one.name == name), None)
    return metric is None or metric.severity is Severity.CRITICAL


def _wait(
    builder: PlanBuilder, asked: ManualRollback, stable: str, known: Validation, policy: ValidationSpec, *, begins: bool
) -> None:
    """The Job is made after the write that begins the validation, and again when a crash has lost that."""
    seen, until = builder.seen, known.since + policy.timeout
    count_limits(builder, stable)
    if begins or seen.validation is None:
        builder.act(CreateJob(known.name, asked.target, stable, until - seen.now))
    message = f"the pods of {asked.target} are ready, and Job {known.name} compares it with {stable}"
    fails = f"{stable} fails ({asked.cause.message}): " if asked.cause else ""
    limit = f"until {rfc3339_whole(until)} at most, {stable} serves all traffic meanwhile"
    builder.sum_up(Note(Reason.VALIDATING, f"{fails}{message}; {limit}"), event=begins)
    builder.requeue_after(until - seen.now)


def _ended(seen: ValidationSeen | None, known: Validation) -> tuple[Outcome | None, str]:
    """What its Job has come to, and why; None while it has not."""
    if seen and seen.succeeded:
        try:
            accepted, why = read_answer(seen.said)
        except NoAnswer as error:
            return Outcome.SKIPPED, f"Job {known.name}: {error}"
        return (Outcome.PASSED if accepted else Outcome.REFUSED), why
    if seen and (seen.succeeded is False or seen.problem):
        return Outcome.SKIPPED, f"Job {known.name}: {seen.problem or 'it has failed'}"
    return None, ""


def _given_up(
    builder: PlanBuilder, known: Validation, policy: ValidationSpec, *, begins: bool
) -> tuple[Outcome | None, str]:
    """Why a Job that has not ended is not waited for, None while it is."""
    if urgent := critical_breach(builder):
        return Outcome.SKIPPED, f"{urgent.metric} is critical and waits for no validation: {urgent.message}"
    if not 0 <= builder.seen.now - known.since < policy.timeout:  # also when the clock was set back: nothing is longer
        within = f"{human(policy.timeout)} (rollback.validation.timeout, for all targets together)"
        late = f"nothing is left of {within}" if begins else f"Job {known.name} has not answered within {within}"
        return Outcome.SKIPPED, late
    return None, ""
