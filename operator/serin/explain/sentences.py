"""Facts in sentences: the headline of `status`, and all of `explain`.

`explain` answers one question, "why is it not moving?", in the order in which a person would ask on: what is happening,
what it waits for, what the numbers and the pods say, when time alone decides, and what one can do. Pure.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from serin.api import names
from serin.api.conditions import ConditionType, Reason
from serin.api.kill_switch import KillSwitch
from serin.api.spec import MeanQuery, Metric, ModelDeploymentSpec, NoDataAction, TemplateRef
from serin.api.state import MetricStatus, Phase, RollbackRecord, Rollout
from serin.api.text import count
from serin.api.times import human
from serin.api.verdicts import BLOCKING, FAILURES, Severity, Trouble, Verdict
from serin.explain import notifications, retraining
from serin.explain.advice import advice
from serin.explain.facts import Facts

# Reasons whose sentence counts the ready pods already.
_SAYS_READY: Final = (
    Reason.CANDIDATE_STARTING,
    Reason.GOLDEN_PROBES_PENDING,
    Reason.SIGNATURE_PENDING,
    Reason.WAITING_FOR_CAPACITY,
    Reason.ROLLING_BACK,
)
_EARLIER: Final = "the earlier version"
# What is said of a version that is watched, in the place of "is over its limit".
_BREAKS: Final[dict[str, str]] = {
    Reason.WORSE_THAN_PAST: ", which is worse than it used to be",
    Reason.DATA_DRIFT: "; the data has drifted",
}
# Of a spec that only the operator can refuse: its strategy, its router, its metrics.
_INVALID: Final[dict[str, str]] = {
    Reason.INVALID_SPEC: "the spec cannot work as it is",
    Reason.METRIC_TEMPLATE_NOT_FOUND: "a metric of the spec cannot work",
}


# ── What happens, in one sentence ─────────────────────────────────────────────────────────────────────────────────────


def headline(facts: Facts) -> str:
    """What is happening, in one sentence: enough for whoever reads no further."""
    state, name = facts.state, facts.name
    if not facts.known:
        return f"{name}: Serin has not looked at it yet"
    if state.kill_switch is KillSwitch.ALL:
        return f"{name} is switched off: no version of it answers"
    if state.stable is None:
        first = facts.version(facts.wanted) if facts.wanted else "its first version"
        return f"{name} {'cannot start' if facts.stalled else 'starts'} {first}, the first one; nothing serves yet"
    if state.rollout:
        return f"{name} {_rollout(facts, facts.version(state.rollout.stable), _tried(facts, state.rollout))}"
    if state.manual_rollback:
        return f"{name} {_manual_rollback(facts, facts.version(state.stable))}"
    if _unready(facts):
        return f"{name} is down: {facts.ready.message}" if _down(facts) else _unreached(facts)
    return _serving(facts, f"{name} serves {_share(facts, state.stable)}")


def _tried(facts: Facts, rollout: Rollout) -> str:
    """The versions under evaluation; of a promotion, the one that is promoted."""
    arms = (rollout.candidate,) if facts.state.phase is Phase.PROMOTING else rollout.active or (rollout.candidate,)
    return _listed([facts.version(one) for one in arms])


def _share(facts: Facts, stable: str) -> str:
    """Who serves, and what the version before it has."""
    watch, split = facts.state.watch, facts.state.split
    if watch is None:
        return facts.version(stable)
    before, share = facts.version(watch.before), split.of(watch.before)
    if not split.of(stable):
        return f"{before} as long as no pod of {facts.version(stable)} is ready"
    rest = f"{share}% of the requests stay" if share else "no requests are"
    return f"{facts.version(stable)}; {rest} with {before}, the version before"


def _serving(facts: Facts, serves: str) -> str:
    if facts.invalid:
        return f"{serves}; the new spec cannot work and changes nothing"
    if facts.reason in _INVALID:
        return f"{serves}; {_INVALID[facts.reason]}"
    if facts.state.kill_switch is KillSwitch.CANDIDATE:
        return f"{serves}; the kill switch lets no other version start"
    if facts.partly_rolled_back and facts.bisection:
        return f"{serves}; {facts.bisection.message}"
    if facts.rejected:
        last = facts.state.last_rollback
        ago = f" {_ago(facts.now - last.at)}" if last and last.source == facts.wanted else ""
        return f"{serves}; {facts.version(facts.wanted or '')} was rolled back{ago} and is rejected"
    if facts.over_limits:
        said = _BREAKS.get(facts.condition(ConditionType.WITHIN_LIMITS).reason, ", which is over its limit")
        return f"{serves}{said}: {', '.join(facts.over_limits)}"
    return serves if facts.observed else f"{serves}; Serin has not looked at the newest spec yet"


def _unready(facts: Facts) -> bool:
    return facts.ready.holds is False


def _down(facts: Facts) -> bool:
    return facts.ready.reason == Reason.STABLE_UNAVAILABLE


def _unreached(facts: Facts) -> str:
    return f"clients do not reach {facts.name}: {facts.ready.message}"


def _rollout(facts: Facts, stable: str, candidate: str) -> str:
    down = facts.reason == Reason.STABLE_UNAVAILABLE
    if facts.state.phase is Phase.PROMOTING:
        asked = ", as a person asked" if _forced(facts) else ""
        what = f"promotes {candidate}{asked}: all pods first, then all requests"
    elif facts.stage.cohort:
        what = f"tries {candidate} on requests with {facts.stage.cohort}; {stable} serves the rest"
    elif facts.state.split.mirror:
        copied = f"copies of {facts.state.split.mirror.percent}% of the requests"
        what = f"tries {candidate} on {copied}; {stable} {'is down' if down else 'answers all requests'}"
    elif not facts.weight:
        rest = f"{stable}, which should serve all requests, is down" if down else f"{stable} serves all requests"
        what = f"brings up {candidate}; {rest}"
    else:
        rest = f"{stable}, which should serve the rest, is down" if down else f"{stable} serves the rest"
        what = f"tries {_shared(facts) or f'{candidate} on {facts.weight}% of the requests'}; {rest}"
    held = ""
    if facts.paused and facts.state.phase is Phase.PAUSED:
        held = "; it is paused"
    elif facts.reason == Reason.WAITING_FOR_APPROVAL:
        held = "; it waits for approval"
    lost = "; clients reach neither of them" if _unready(facts) and not down else ""
    return f"{what}{held}{lost}"


def _shared(facts: Facts) -> str:
    """Which of several versions has how many of the requests; "" when there is one."""
    arms = facts.rollout.active if facts.rollout else ()
    weights = [facts.state.split.of(one) for one in arms]
    if len(arms) < 2:
        return ""
    if len(set(weights)) == 1:
        return f"{_listed([facts.version(one) for one in arms])} on {weights[0]}% of the requests each"
    told = [f"{facts.version(one)} on {weight}%" for one, weight in zip(arms, weights, strict=True)]
    return f"{_listed(told)} of the requests"


def _listed(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _forced(facts: Facts) -> bool:
    """Whether a person asked to promote the candidate without waiting for evidence."""
    return facts.rollout is not None and facts.rollout.stage.forced


def _manual_rollback(facts: Facts, stable: str) -> str:
    asked = facts.state.manual_rollback
    target = facts.version(asked.target) if asked else ""
    lost = "; clients reach neither of them" if _unready(facts) and not _down(facts) else ""
    if asked and asked.moved is not None:
        return f"goes back to {target}, which gets all requests now{lost}"
    meanwhile = f"{stable} serves until its pods are ready"
    if _down(facts):
        meanwhile = f"{stable}, which should serve until then, is down"
    return f"goes back to {target}; {meanwhile}{lost}"


# ── What it waits for ─────────────────────────────────────────────────────────────────────────────────────────────────


def waiting(facts: Facts) -> str:
    """The operator's own reason and sentence, with the time and the requests that are left."""
    if not facts.reason:
        return ""
    told = facts.message
    if facts.reason == Reason.REJECTED_CONTENT and (cause := _cause(facts)):
        found = f"; {facts.bisection.message}" if facts.bisection else ""
        return f"{cause.reason}: {cause.message}{found}"  # the long sentence repeats it, with a command for kubectl
    if facts.reason == Reason.WAITING_FOR_APPROVAL:
        told = told.split(":")[0]  # the command for kubectl is no news to whoever has this one
    elif facts.reason == Reason.PAUSED_BY_USER:
        told = "a person holds it where it is"
    rest = left(facts)
    return f"{facts.reason}: {told}{f'; {rest}' if rest else ''}"


def left(facts: Facts) -> str:
    """What is left of the present stage, time and requests; "" when it waits for neither."""
    if facts.reason not in (Reason.BAKING, Reason.WAITING):
        return ""
    parts = []
    if seconds := seconds_left(facts):
        parts.append(human(seconds))
    requests = requests_left(facts)
    if requests and facts.is_asked and facts.reason == Reason.BAKING:
        parts.append(f"about {count(requests)} more candidate requests")
    return f"{' and '.join(parts)} left" if parts else ""


def seconds_left(facts: Facts) -> float | None:
    """Seconds until the present stage has lasted long enough, 0 when it has; None when time is no matter."""
    until = facts.stage.until if facts.rollout else None
    return None if until is None else max(0.0, until - facts.now)


def requests_left(facts: Facts) -> int:
    """Candidate requests that the stage's least number and the verdicts of critical and major metrics still need."""
    undecided = [one for one in facts.metrics if one.severity in BLOCKING and one.verdict != Verdict.PASS]
    needed = max((one.needed or 0 for one in undecided), default=0)
    return max(needed, facts.stage.min_requests - facts.stage.requests, 0)


def _cause(facts: Facts) -> RollbackRecord | None:
    """The rollback by which what the spec describes was rejected, while it is the last one."""
    last = facts.state.last_rollback
    return last if last and facts.rejected and last.source == facts.wanted else None


# ── All of it ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def explain(facts: Facts, serin: str = "serin") -> list[str]:
    """Sentences, one paragraph each. `serin`: the command as the user typed it."""
    return [
        f"{headline(facts)}.",
        *_unseen(facts),
        *_why(facts, serin),
        *_stall(facts, serin),
        *_stage(facts),
        *_watched(facts),
        *_limited(facts, serin),
        *_eliminated(facts),
        *_bisection(facts),
        *_metrics(facts, serin),
        *_one_pod(facts),
        *_traffic(facts, serin),
        *_trouble(facts),
        *_route(facts, serin),
        *_extra_ports(facts),
        *_contests(facts, serin),
        *_pods(facts),
        *_deadlines(facts),
        *_earlier(facts),
        *_recovery(facts),
        *retraining.sentences(facts, serin),
        *notifications.sentences(facts, serin),
        *_can(facts, serin),
    ]


def _advice(facts: Facts, reason: str, serin: str) -> str:
    return advice(reason, facts.name, facts.namespace, serin)


def _unseen(facts: Facts) -> Iterator[str]:
    if not facts.observed:
        yield (
            "The operator has not looked at the newest spec yet. That takes a second or two; if it stays so, look "
            f"whether the operator runs: kubectl -n {names.SYSTEM_NAMESPACE} get pods"
        )


def _why(facts: Facts, serin: str) -> Iterator[str]:
    if not facts.reason:
        return
    if facts.reason == Reason.SERVING and facts.rollout is None:
        yield "Nothing is under way: the spec describes what serves."
        return
    cause = _cause(facts) if facts.reason == Reason.REJECTED_CONTENT else None
    yield f"Why: {_full(waiting(facts))}"
    if found := _advice(facts, cause.reason if cause else facts.reason, serin):
        yield f"What to do: {found}"


def _stall(facts: Facts, serin: str) -> Iterator[str]:
    """What somebody has to change, when something else matters more now."""
    stalled = facts.condition(ConditionType.STALLED)
    if stalled.holds and stalled.reason != facts.reason:
        yield f"In the way as well: {stalled.reason}: {_full(stalled.message)}"
        if found := _advice(facts, stalled.reason, serin):
            yield f"What to do about that: {found}"


def _stage(facts: Facts) -> Iterator[str]:
    rollout, stage = facts.rollout, facts.stage
    if rollout is None or not stage.title:
        return
    number = rollout.stage.index + 1
    where = f"Step {number} of {stage.of} is {stage.title}"
    if rollout.stage.since is None:
        yield f"{where}; it begins when the candidate's pods are ready for it."
        return
    if stage.approval:
        return
    if stage.until is None:  # the step was edited to more than the candidate has
        yield f"{where}; it begins once what {facts.weight}% shows is enough for that, and the pods are ready for it."
        return
    seconds = seconds_left(facts) or 0.0
    time = f"{human(seconds)} of that are left" if seconds else "that time is over"
    after = f"step {number + 1}, {stage.next}" if stage.next else "the promotion"
    proof = "once every critical and major metric has passed in this step"
    if stage.note:
        yield f"{where}; {time}. After it comes {after}, unless a metric fails before; {stage.note}."
    else:
        yield f"{where}; {time}. After it comes {after}, {proof}."
    if stage.min_requests:
        yield f"It has {count(stage.requests)} of the {count(stage.min_requests)} requests that minRequests asks for."


def _watched(facts: Facts) -> Iterator[str]:
    """What the version before a promotion is kept for, and how long."""
    watch, holdback = facts.state.watch, facts.spec.holdback if facts.spec else None
    if watch is None or holdback is None or not facts.watched:
        return
    stable, before = facts.version(facts.state.stable or ""), facts.version(watch.before)
    rest = watch.since + holdback.seconds - facts.now
    time = f"for {human(rest)} more" if rest > 0 else "until the next look"
    yield (
        f"{stable} is promoted and watched {time}: it is compared with {before}, whose pods stay so long. "
        f"A metric that fails puts all requests back on {before} in one write."
    )


def _limited(facts: Facts, serin: str) -> Iterator[str]:
    """What is watched for as long as a version serves, and what a breach does now."""
    policy, since = facts.spec.limit_policy if facts.spec else None, facts.state.stable_since
    if facts.spec is None or policy is None or since is None or not facts.limited or facts.state.manual_rollback:
        return
    watched = facts.spec.watched
    rest = since + policy.roll_back_within - facts.now
    acts = [one.name for one in watched if one.severity in BLOCKING]
    then = "a breach is told, and nothing goes back by itself"
    if acts and rest > 0:
        then = f"for {human(rest)} more, a breach of {_listed(acts)} goes back by itself to the best earlier version"
    version, names_ = facts.version(facts.state.stable or ""), _listed([one.name for one in watched])
    yield f"{version} is watched ({names_}), with a look every {human(policy.interval)}: {then}."
    within = facts.condition(ConditionType.WITHIN_LIMITS)
    if within.holds is False and facts.reason != within.reason:
        yield f"What it breaks: {_full(within.message)}"
        yield f"What to do about that: {_advice(facts, within.reason, serin)}"


def _metrics(facts: Facts, serin: str) -> Iterator[str]:
    if not facts.is_measured:
        return  # nobody asks the candidate anything yet, so there is nothing to say about it
    if _forced(facts):
        yield "A person asked to promote it, so it waits for no evidence."
        return
    for one in facts.metrics:
        effect = "" if facts.limited else _effect(one)  # of what serves, what a breach does is told elsewhere
        yield f"Metric {one.name} ({one.severity}): {_full(_metric(one) + effect)}"
        if one.verdict == Verdict.NO_DATA and one.reason != facts.reason:
            found = _advice(facts, one.reason, serin)
            if found:
                yield f"What to do about {one.name}: {found}"
    evidence = facts.condition(ConditionType.EVIDENCE_AVAILABLE)
    if evidence.reason == Reason.CLOCK_SKEWED:
        yield f"The evidence: {_full(evidence.message)} {_advice(facts, evidence.reason, serin)}"
    if not facts.metrics:
        yield "No metric has been read yet: the first look at Prometheus comes with the next tick."


def _one_pod(facts: Facts) -> Iterator[str]:
    """What a candidate with a single pod does to the promise of the metrics that its node can move."""
    if not (facts.rollout and facts.spec and facts.is_asked) or facts.pods(facts.rollout.candidate).replicas != 1:
        return
    judged = [one for one in facts.spec.metrics if one.severity in BLOCKING and _depends_on_the_node(one)]
    if named := ", ".join(one.name for one in judged):
        yield (
            f"The candidate has one pod, so what that pod's node does counts as what the version does ({named}). What "
            "stable's own pods differ by is let pass; a node that is slower than any of theirs rolls a good version "
            "back, and no number of requests changes that. With two pods or more it is unlikely."
        )


def _depends_on_the_node(metric: Metric) -> bool:
    """Times, and means of numbers that may be times."""
    built_in = isinstance(metric.source, TemplateRef) and metric.source.name == "request-latency"
    return built_in or isinstance(metric.source, MeanQuery)


_SAID: Final[dict[str, str]] = {
    Verdict.PASS: "passes",
    Verdict.INCONCLUSIVE: "cannot tell yet",
    Verdict.NO_DATA: "has no data",
    Verdict.FAIL_MINOR: "fails",
    Verdict.FAIL_CRITICAL: "fails badly",
}
_FAILING: Final[dict[str, str]] = {
    Severity.MINOR: "; a minor metric holds the rollout",
    Severity.INFO: "; it is only shown",
    Severity.GOAL: "; the test ends with stable",
}


def _metric(one: MetricStatus) -> str:
    return f"{_SAID.get(one.verdict, one.verdict)}: {one.message}"


def _effect(one: MetricStatus) -> str:
    """What it does to the rollout."""
    if one.verdict in FAILURES:
        return _FAILING.get(one.severity, "; that rolls the candidate back")
    return "" if one.severity in (*BLOCKING, Severity.GOAL) else "; nothing waits for it"


def _traffic(facts: Facts, serin: str) -> Iterator[str]:
    """Whether the requests suffice for the policy, as measured when the rollout began."""
    feasible = facts.condition(ConditionType.POLICY_FEASIBLE)
    if facts.rollout and feasible.holds is False:
        yield f"The traffic is too low for these steps: {_full(feasible.message)}"
        yield f"What to do: {_advice(facts, feasible.reason, serin)}"


def _trouble(facts: Facts) -> Iterator[str]:
    """What no single metric can say: that the candidate is not the cause."""
    trouble, message = facts.status.trouble, facts.status.trouble_message
    if trouble == Trouble.DATA_DRIFT:
        what = "version" if facts.limited else "candidate"
        yield f"The data has drifted; the {what} is not to blame, and rolling back cannot help."
    elif trouble == Trouble.INFRASTRUCTURE and message not in facts.message:
        yield _full(f"It is the infrastructure, not the {'version' if facts.limited else 'candidate'}: {message}")


def _route(facts: Facts, serin: str) -> Iterator[str]:
    routed = facts.condition(ConditionType.ROUTED)
    if routed.holds is False and routed.reason != facts.reason:
        yield f"The route: {_full(routed.message)} {_advice(facts, routed.reason, serin)}"
    fallback = facts.condition(ConditionType.FALLBACK_READY)
    if fallback.holds is False:
        yield f"The fallback: {_full(fallback.message)} {_advice(facts, fallback.reason, serin)}"


def _extra_ports(facts: Facts) -> Iterator[str]:
    """What no step moves, while there are any."""
    if facts.spec and facts.rollout and (extra := facts.spec.service.extra_ports):
        ports = ", ".join(f"{one.port} ({one.name})" for one in extra)
        yield (
            f"Whoever uses port {ports} of the Service meets pods of {facts.rollout.stable} alone, until another "
            "version is stable: no step moves these requests, and no metric of the router counts them."
        )


def _contests(facts: Facts, serin: str) -> Iterator[str]:
    """Something else that writes Serin's objects."""
    contested = facts.condition(ConditionType.CONTESTED)
    if contested.holds:
        yield _full(contested.message[0].upper() + contested.message[1:])
        yield f"What to do: {_advice(facts, contested.reason, serin)}"


def _pods(facts: Facts) -> Iterator[str]:
    for called, snapshot in _roles(facts):
        pods, problem = facts.pods(snapshot), facts.problems.get(snapshot, "")
        told = f": {problem}" if problem and problem not in facts.message else ""
        if pods.ready < pods.replicas and (told or facts.reason not in _SAYS_READY):
            yield _full(f"{pods.ready} of {pods.replicas} pods of {called} ({facts.version(snapshot)}) are ready{told}")


def _roles(facts: Facts) -> Iterator[tuple[str, str]]:
    """What the versions are called that have pods now, and their snapshots."""
    state = facts.state
    if state.stable:
        yield names.ROLE_STABLE, state.stable
    for snapshot in state.rollout.active if state.rollout else ():
        yield names.ROLE_CANDIDATE, snapshot
    if state.manual_rollback:
        yield _EARLIER, state.manual_rollback.target
    if state.watch:
        yield "the version before", state.watch.before


def _eliminated(facts: Facts) -> Iterator[str]:
    """Arms that are out, and why."""
    for arm in facts.rollout.arms if facts.rollout else ():
        if arm.eliminated:
            ago = f" {_ago(facts.now - arm.at)}" if arm.at is not None else ""
            yield _full(f"{facts.version(arm.snapshot)} was eliminated{ago}: {arm.reason}: {arm.message}")


def _bisection(facts: Facts) -> Iterator[str]:
    """The search for what is to blame, and each combination that was tried."""
    search = facts.bisection
    if search is None:
        return
    found = search.message or "which of its changes is to blame is searched for"
    yield _full(f"{search.cause.source} was rolled back ({search.cause.reason}: {search.cause.message}): {found}")
    for one in search.tries:
        told = "serves" if one.snapshot == facts.state.stable else "is tried now"
        if one.reason:
            told = f"was rolled back: {one.reason}: {one.message}"
        elif one is not search.present:
            told = "comes next"
        yield _full(f"{one.snapshot}, the same with the {_listed(one.reverts)} of {search.cause.target}, {told}")


def _deadlines(facts: Facts) -> Iterator[str]:
    """When time alone rolls the candidate back, or ends a manual rollback that does not come about."""
    asked, rollout, spec = facts.state.manual_rollback, facts.rollout, facts.spec
    if asked and asked.moved is None and spec:
        rest = asked.since + spec.progress_deadline - facts.now
        then = f"{asked.others[0]} is tried" if asked.others else f"{facts.version(facts.state.stable or '')} stays"
        in_time = _in_time(rest, facts.pods(asked.target).ready, spec)
        yield f"If its pods are not ready {in_time} (progressDeadline), {then}."
    if rollout is None or spec is None:
        return
    pods = facts.pods(rollout.candidate)
    if rollout.stage.since is None and rollout.stage.entered and pods.ready < pods.replicas:
        rest = rollout.stage.entered + spec.progress_deadline - facts.now
        in_time = _in_time(rest, pods.ready, spec)
        yield f"If its pods are not ready {in_time} (progressDeadline), it is rolled back."
    if facts.stage.deadline is not None:
        rest = facts.stage.deadline - facts.now
        yield f"If it is not promoted {_within(rest)} (maxDuration), it is rolled back."
    silent = any(one.verdict == Verdict.NO_DATA and one.severity in BLOCKING for one in facts.metrics)
    if silent and facts.is_asked and not rollout.stage.forced:
        if spec.analysis.on_no_data is NoDataAction.ROLLBACK:
            after = human(spec.analysis.on_no_data_after)
            yield f"Without any data for {after} it is rolled back (onNoData)."
        else:
            yield "Without data it holds for as long as it takes (onNoData: Hold)."


def _earlier(facts: Facts) -> Iterator[str]:
    """A rollback that is not what the present reason is about."""
    last = facts.state.last_rollback
    if last is None or facts.rejected:
        return
    ago = _ago(facts.now - last.at)
    yield _full(f"The last rollback was {ago}: {facts.version(last.source)}, {last.reason}: {last.message}")


def _recovery(facts: Facts) -> Iterator[str]:
    """Whether the last rollback has helped, where that was looked at."""
    last = facts.state.last_rollback
    if last is None or not last.outcome:
        return
    known = {Reason.RECOVERED.value: "has helped", Reason.NOT_RECOVERED.value: "has not helped"}
    said = known.get(last.outcome, "has not shown whether it helps")
    yield _full(f"The rollback to {facts.version(last.target)} {said}: {last.outcome_message}")


def _can(facts: Facts, serin: str) -> Iterator[str]:
    ways = [(f"{serin} {verb} {facts.name}{argument}", what) for verb, argument, what in _ways(facts)]
    if not ways:
        return
    width = max(len(command) for command, _ in ways)
    yield "\n".join(["You can:", *(f"  {command:{width}}   {what}" for command, what in ways)])


def _ways(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Verb, what follows the name, and what it does."""
    if facts.killed:
        yield "kill-switch", " off", "let versions answer and start again"
    if facts.state.manual_rollback:
        yield "abort", "", f"stay with {facts.version(facts.state.stable or '')}"
    elif facts.rollout:
        yield from ((verb, "", what) for verb, what in _ways_of_a_rollout(facts))
    elif facts.watched and facts.state.watch:
        yield "rollback", "", f"go back to {facts.version(facts.state.watch.before)} at once"
    elif facts.rejected and not facts.partly_rolled_back and not facts.killed:
        yield "retry", "", "try the same version again"


def _ways_of_a_rollout(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.stage.approval:
        yield "approve", "go on now"
    yield ("resume", "go on with the steps") if facts.paused else ("pause", "hold it where it is")
    if not _forced(facts):
        yield "promote", "make it stable without waiting for the evidence"
    yield "abort", "all requests back to stable at once"


def _ago(seconds: float) -> str:
    return f"{human(seconds)} ago" if seconds >= 1 else "just now"


def _in_time(rest: float, ready: int, spec: ModelDeploymentSpec) -> str:
    """`rest`: seconds until the deadline. Beside a pod that is ready, those that came later have one of their own."""
    if rest > 0 or not ready:
        return _within(rest)
    return f"within {human(spec.progress_deadline)} of their own creation"


def _within(seconds: float) -> str:
    return f"within {human(seconds)}" if seconds > 0 else "at the next look"


def _full(sentence: str) -> str:
    """With a full stop, unless it ends with one or with a command."""
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
