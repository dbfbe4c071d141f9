"""Approvals of a step that waits for people: who has given one, which of them count, and how many are missing.

An approval is a new value of the annotation `serin.dev/approve`: a moment, after ` for ` what is approved, and after
` by ` who gives it. That the name is the writer's own is for the API server to ensure (a ValidatingAdmissionPolicy of
the chart); counted here is whoever is named. The same person counts once, and an approval of an earlier stay in the
step not at all. Somebody who has looked at one version may write when another one waits: hence what is approved.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from serin.api import names
from serin.api.conditions import Reason
from serin.api.state import Approval, Rollout
from serin.api.text import shortened
from serin.api.times import human
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.requests import handle
from serin.rollout.strategies.base import ApprovalRule, RolloutContext

LONGEST_NAME: Final = 128
# As many as the schema has room for: the newest are kept.
MOST_APPROVALS: Final = 32


def approver(value: str) -> str:
    """Who gives an approval, "" when the annotation's value names nobody."""
    return value.partition(names.APPROVED_BY)[2].strip()[:LONGEST_NAME]


def approved_thing(value: str) -> str:
    """What an approval is for, SNAPSHOT/STEP; "" when it does not say: whatever waits."""
    return value.partition(names.APPROVED_BY)[0].partition(names.APPROVAL_FOR)[2].strip()


def given(rollout: Rollout, rule: ApprovalRule, now: float) -> tuple[str, ...]:
    """Who has approved the present stage, in order; "" is somebody without a name. `now`: unix seconds."""
    return tuple(dict.fromkeys(one.by for one in _counted(rollout, rule, now)))


def take_approval(builder: PlanBuilder, context: RolloutContext) -> tuple[RolloutContext, bool]:
    """Take an approval that was asked for; whether the stage has all that it waits for."""
    rule = builder.strategy.waits_for_approval(context.stage)
    if not rule or not handle(builder, names.ANNOTATION_APPROVE):
        return context, False
    value = builder.seen.deployment.annotations[names.ANNOTATION_APPROVE]
    by, number = approver(value), context.stage.index + 1
    context = replace(context, state=replace(context.state, handled=builder.state.handled))
    if why := _refusal(context, rule, value):
        builder.add_event(Reason.APPROVAL_REFUSED, why, warning=True)
        return context, False
    approval = Approval(context.stage.index, by, builder.seen.now)
    rollout = replace(context.rollout, approvals=(*context.rollout.approvals, approval)[-MOST_APPROVALS:])
    context = context.having(rollout)
    people = given(rollout, rule, builder.seen.now)
    whom = f" by {by}" if by else ""
    so_far = f" ({len(people)} of {rule.count})" if rule.count > 1 else ""
    builder.add_event(Reason.APPROVED, f"step {number} is approved{whom}{so_far}")
    return context, len(people) >= rule.count


def _refusal(context: RolloutContext, rule: ApprovalRule, value: str) -> str:
    """Why an approval does not count, "" when it does."""
    number, use = context.stage.index + 1, f"use serin approve {context.seen.deployment.name}"
    wanted, waits = approved_thing(value), f"{context.candidate}/{number}"
    if wanted and wanted != waits:
        return (
            f"an approval is for {shortened(wanted, LONGEST_NAME)}, and {waits} waits for one: look at it, then {use}"
        )
    if rule.count > 1 and not approver(value):
        return f"step {number} needs {rule.count} people, and this approval names nobody: {use}"
    return ""


def missing(rollout: Rollout, rule: ApprovalRule, now: float) -> str:
    """What is known of the approvals so far, in words; "" where one is enough. `now`: unix seconds."""
    if rule.count == 1:
        return ""
    people = given(rollout, rule, now)
    who = f", so far {', '.join(people)}" if people else ""
    lasts = f"; one counts for {human(rule.lasts)}" if rule.lasts is not None else ""
    return f" of {rule.count} people{who}{lasts}"


def expires_in(rollout: Rollout, rule: ApprovalRule, now: float) -> float | None:
    """Seconds until the next of the counted approvals counts no longer; None: never."""
    moments = [one.at for one in _counted(rollout, rule, now)]
    return min(moments) + rule.lasts - now if moments and rule.lasts is not None else None


def _counted(rollout: Rollout, rule: ApprovalRule, now: float) -> Iterator[Approval]:
    """The approvals of the present stay in the present stage that have not expired."""
    index, since = rollout.stage.index, rollout.stage.since
    for one in rollout.approvals:
        if one.step != index or (since is not None and one.at < since):
            continue
        if rule.lasts is None or now - one.at < rule.lasts:
            yield one
