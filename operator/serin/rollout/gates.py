"""Gates: small questions about a rollout, each answered with a reason or nothing.

Two lists. `ROLL_BACK` ends the rollout at once, whatever step it is in; `HOLD` keeps the candidate's weight as it is.
A gate sees one `RolloutContext` and does no I/O. A new gate is a function here (or in a module of its own) and a line
in a list; the order of a list is the order in which a person would want to hear the answers.
"""

from collections.abc import Collection, Iterable

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.names import ANNOTATION_PAUSE
from serin.api.spec import NoDataAction
from serin.api.times import human
from serin.api.verdicts import BLOCKING, FAILURES, Against, Severity, Verdict
from serin.evaluation.signature import incompatibility
from serin.rollout.model import GoldenAnswers, Signatures
from serin.rollout.strategies.base import Finding, Gate, RolloutContext


def first(gates: Iterable[Gate], context: RolloutContext) -> Finding | None:
    """The first gate's finding, in list order; None when every gate is open."""
    return next((finding for gate in gates if (finding := gate(context))), None)


# ── What ends a rollout ───────────────────────────────────────────────────────────────────────────────────────────────


def metric_failed(context: RolloutContext) -> Finding | None:
    """A critical or major metric has failed. The worst verdict speaks first."""
    failed = [one for one in context.verdicts if one.verdict in FAILURES and one.severity in BLOCKING]
    if not failed:
        return None
    worst = max(failed, key=lambda one: (one.verdict is Verdict.FAIL_CRITICAL, one.severity is Severity.CRITICAL))
    return Finding(Reason(worst.reason), f"{worst.metric}: {worst.message}", worst)


def template_refused(context: RolloutContext) -> Finding | None:
    """The API server does not accept the pod template, and never will."""
    if context.workload and context.workload.refused:
        message = f"the API server refuses the pod template: {context.workload.problem}"
        return Finding(Reason.POD_TEMPLATE_REFUSED, message)
    return None


def crashed_under_traffic(context: RolloutContext) -> Finding | None:
    """Every candidate pod's process died while it had traffic: that is the version, not the node."""
    if context.is_asked and context.workload and context.workload.crashed and not context.ready:
        return Finding(Reason.CANDIDATE_CRASHED, f"the candidate crashed under traffic: {context.workload.problem}")
    return None


def never_ready(context: RolloutContext) -> Finding | None:
    """The candidate has not reached the pods that the present step needs within the progress deadline."""
    deadline = context.seen.deployment.spec.progress_deadline
    waited = context.seen.now - context.stage.entered
    in_time = context.workload.in_time(context.needed, context.seen.now, deadline) if context.workload else 0
    if context.stage.since is not None or waited < deadline or context.ready + in_time >= context.needed:
        return None
    message = (
        f"{context.ready} of {context.needed} candidate pods are ready after {human(waited)} "
        f"(progressDeadline {human(deadline)}): {context.seen.reason(context.candidate)}"
    )
    return Finding(Reason.PROGRESS_DEADLINE_EXCEEDED, message)


def answers_wrongly(context: RolloutContext) -> Finding | None:
    """A pod of the candidate has answered a golden probe wrongly, and again when it was asked once more."""
    wrong = context.golden.wrong if context.golden else ""
    return Finding(Reason.GOLDEN_PROBE_FAILED, wrong) if wrong else None


def never_answers(context: RolloutContext) -> Finding | None:
    """A ready pod of the candidate has not answered its golden probes within the progress deadline."""
    deadline = context.seen.deployment.spec.progress_deadline
    if context.golden is None or context.golden.waited < deadline:
        return None
    asked = f"asked for {human(context.golden.waited)} (progressDeadline {human(deadline)})"
    return Finding(Reason.GOLDEN_PROBE_UNANSWERED, f"{context.golden.waits}; {asked}")


def breaks_clients(context: RolloutContext) -> Finding | None:
    """The candidate takes or answers something else than stable, or than it declares."""
    own, stable = context.signatures, context.seen.signatures.get(context.stable)
    if own is None:
        return None
    different = own.differs
    if not different and own.known and stable and stable.known:
        different = incompatibility(stable.known, own.known, "stable")
    return Finding(Reason.SIGNATURE_INCOMPATIBLE, different) if different else None


def never_told(context: RolloutContext) -> Finding | None:
    """A ready pod of the candidate has not said its signature within the progress deadline."""
    own, deadline = context.signatures, context.seen.deployment.spec.progress_deadline
    if own is None or own.waited < deadline:
        return None
    asked = f"asked for {human(own.waited)} (progressDeadline {human(deadline)})"
    return Finding(Reason.SIGNATURE_UNKNOWN, f"{own.waits}; {asked}")


def runs_something_else(context: RolloutContext) -> Finding | None:
    """A pod of the candidate runs another image, or another model, than the version declares; or nobody can say."""
    digests = context.seen.digests.get(context.candidate)
    if digests is None:
        return None
    if digests.differs:
        return Finding(Reason.DIGEST_MISMATCH, digests.differs)
    return Finding(Reason.DIGEST_UNKNOWN, digests.unknown) if digests.unknown else None


def took_too_long(context: RolloutContext) -> Finding | None:
    """The whole rollout is older than `maxDuration`. One that only waits for the router's word has passed."""
    limit = context.strategy.max_duration
    age = context.seen.now - context.rollout.since
    only_routed = context.weight == 100 and context.stage.index >= context.strategy.last_stage()
    if limit is None or age < limit or only_routed:
        return None
    return Finding(Reason.MAX_DURATION_EXCEEDED, f"the rollout has taken {human(age)}, maxDuration is {human(limit)}")


def silent_too_long(context: RolloutContext) -> Finding | None:
    """No data for longer than the policy bears, and the policy says to roll back."""
    analysis = context.seen.deployment.spec.analysis
    silent = missing(context)
    if analysis.on_no_data is not NoDataAction.ROLLBACK or not silent or not context.is_asked:
        return None
    quiet = context.seen.now - max(silent[0].at or 0.0, context.stage.since or context.rollout.since)
    if quiet < analysis.on_no_data_after:
        return None
    message = f"no data for {human(quiet)} ({silent[0].metric}: {silent[0].message}), onNoData says Rollback"
    return Finding(Reason.NO_DATA_FOR_TOO_LONG, message, silent[0])


ROLL_BACK: tuple[Gate, ...] = (
    metric_failed,  # the evidence says that the candidate is worse
    template_refused,  # it can never run
    runs_something_else,  # it runs, and is not what it says it is
    breaks_clients,  # clients that speak to stable could not speak to it
    answers_wrongly,  # it is not the model that it should be
    crashed_under_traffic,  # it ran, and died
    never_ready,  # it does not come up in time
    never_answers,  # it is up, and cannot be asked
    never_told,  # nor for its signature
    took_too_long,  # it neither fails nor passes
    silent_too_long,  # nobody can say
)


# ── What holds a rollout where it is ──────────────────────────────────────────────────────────────────────────────────


def paused(context: RolloutContext) -> Finding | None:
    """A person holds the rollout."""
    asked = context.seen.deployment.annotations.get(ANNOTATION_PAUSE)
    if asked is None or asked == "false":
        return None
    return Finding(Reason.PAUSED_BY_USER, f"paused: remove the annotation {ANNOTATION_PAUSE} to go on")


def spec_incomplete(context: RolloutContext) -> Finding | None:
    """The policy names something that is not there."""
    return Finding(*context.seen.invalid) if context.seen.invalid else None


def route_unsure(context: RolloutContext) -> Finding | None:
    """The router is away, or refused what it was given: weights would say one thing and traffic do another."""
    problem = context.seen.route.problem()
    return Finding(problem.reason, problem.message) if problem else None


def stable_down(context: RolloutContext) -> Finding | None:
    """Nothing to compare with, and nowhere to go back to."""
    stable = context.seen.workloads.get(context.stable)
    if stable and stable.ready:
        return None
    why = (stable.problem if stable else None) or "none of its pods is ready"
    message = f"stable is down ({why}): the candidate keeps its weight; serin.dev/promote makes it stable"
    return Finding(Reason.STABLE_UNAVAILABLE, message)


def split_unfaithful(context: RolloutContext) -> Finding | None:
    """The snapshots do not receive the shares that were decided: the step does not show what it is thought to show."""
    split = context.assessment.split
    if split is None or split.verdict not in FAILURES or context.stage.since is None:
        return None
    return Finding(Reason.SPLIT_NOT_AS_ROUTED, split.message)


def unsigned(context: RolloutContext) -> Finding | None:
    """The signature of stable, or of a ready pod of some arm, is not known yet: no traffic rises before."""
    if not context.seen.deployment.spec.integrity.signature:
        return None
    stable = context.seen.signatures.get(context.stable, Signatures())
    if stable.known is None:
        told = "the signature of stable is not known yet"
        reason = Reason.SIGNATURE_UNKNOWN if stable.waits else Reason.SIGNATURE_PENDING
        return Finding(reason, f"{told}: {stable.waits}" if stable.waits else told)
    for one in context.each:
        own = one.signatures or Signatures(asked=one.ready)
        if own.told < own.asked:
            told = f"{own.told} of {own.asked} ready pods of {one.candidate} have said their signature"
            return Finding(Reason.SIGNATURE_PENDING, f"{told}: {own.waits}" if own.waits else told)
    return None


def unverified(context: RolloutContext) -> Finding | None:
    """A ready pod of some arm has not answered its golden probes yet: no traffic rises before."""
    if not context.seen.deployment.spec.integrity.golden_probes:
        return None
    for one in context.each:
        answers = one.golden or GoldenAnswers(asked=one.ready)
        if answers.passed < answers.asked:
            whose = f"{answers.passed} of {answers.asked} ready pods of {one.candidate}"
            told = f"{whose} have answered the golden probes as expected"
            return Finding(Reason.GOLDEN_PROBES_PENDING, f"{told}: {answers.waits}" if answers.waits else told)
    return None


HOLD: tuple[Gate, ...] = (
    paused,  # a person said so
    spec_incomplete,  # the policy cannot be judged as written
    route_unsure,  # weights would not be traffic
    stable_down,  # no baseline
    unsigned,  # what clients send may not fit it
    unverified,  # a pod may be another model than it should be
    split_unfaithful,  # the traffic is not what the weights say
)


# ── What a step must gather before the next one ───────────────────────────────────────────────────────────────────────


def missing(context: RolloutContext) -> list[MetricVerdict]:
    """Critical and major metrics whose newest sample found nothing."""
    verdicts = context.verdicts
    return [one for one in verdicts if one.verdict is Verdict.NO_DATA and one.severity in BLOCKING]


def minor_failed(context: RolloutContext) -> Finding | None:
    """A minor metric has failed: no reason to go back, and none to go on."""
    for one in context.verdicts:
        if one.verdict is Verdict.FAIL_MINOR and one.severity is Severity.MINOR:
            return Finding(Reason(one.reason), f"{one.metric}: {one.message}; a minor metric holds the rollout", one)
    return None


def unproven(context: RolloutContext, *, without: Collection[Against] = ()) -> Finding | None:
    """Why the evidence does not allow the next step yet; None when every metric that counts has passed.

    `without`: metrics that are compared with these do not count, as they are not there. A Pass must rest on data of
    this step: what a smaller weight showed says nothing about load at this one.
    """
    counting = {one.name for one in context.seen.deployment.spec.metrics if one.against not in without}
    if silent := [one for one in missing(context) if one.metric in counting]:
        return Finding(Reason(silent[0].reason), f"{silent[0].metric}: {silent[0].message}", silent[0])
    if held := minor_failed(context):
        return held
    since = context.stage.since or 0.0
    for one in (one for one in context.verdicts if one.metric in counting):
        if one.severity in BLOCKING and (one.verdict is not Verdict.PASS or (one.at or 0.0) < since):
            return Finding(Reason.GATHERING_EVIDENCE, f"{one.metric}: {one.message}", one)
    unseen = [one.name for one in context.seen.deployment.spec.metrics if one.severity in BLOCKING]
    judged = {one.metric for one in context.verdicts}
    if waiting := [name for name in unseen if name in counting and name not in judged]:
        return Finding(Reason.GATHERING_EVIDENCE, f"{', '.join(waiting)}: no look at Prometheus has come back yet")
    return None
