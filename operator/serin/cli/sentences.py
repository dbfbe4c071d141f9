"""Facts in sentences: the headline of `status`, and all of `explain`.

`explain` answers one question, "why is it not moving?", in the order in which a person would ask on: what is happening,
what it waits for, what the numbers and the pods say, when time alone decides, and what one can do. Pure.
"""

from collections.abc import Iterator

from serin.analysis.text import count
from serin.api.conditions import ConditionType, Reason
from serin.api.json import JsonObject
from serin.api.names import ANNOTATION_PAUSE
from serin.api.spec import NoDataAction, PauseStep, Step, WeightStep
from serin.api.status import Phase, Rollback
from serin.api.times import human, parse_rfc3339
from serin.api.verdicts import BLOCKING, Severity, Trouble, Verdict
from serin.cli.advice import advice
from serin.cli.facts import Facts

# Reasons whose sentence counts the ready pods already.
_SAYS_READY = (Reason.CANDIDATE_STARTING, Reason.WAITING_FOR_CAPACITY, Reason.ROLLING_BACK)


def headline(facts: Facts) -> str:
    """What is happening, in one sentence: enough for whoever reads no further."""
    state, name = facts.state, facts.name
    if not facts.status:
        return f"{name}: Serin has not looked at it yet"
    if state.stable is None:
        first = facts.version(facts.wanted) if facts.wanted else "its first version"
        stuck = facts.condition(ConditionType.STALLED).get("status") == "True"
        return f"{name} {'cannot start' if stuck else 'starts'} {first}, the first one; nothing serves yet"
    stable = facts.version(state.stable)
    if state.candidate:
        return f"{name} {_rollout(facts, stable, facts.version(state.candidate))}"
    if state.manual_rollback:
        return f"{name} {_going_back(facts, stable, facts.version(state.manual_rollback.target))}"
    if _unready(facts):
        ready = facts.condition(ConditionType.READY)
        down = ready["reason"] == Reason.STABLE_UNAVAILABLE
        return f"{name} is down: {ready['message']}" if down else f"clients do not reach {name}: {ready['message']}"
    serves = f"{name} serves {stable}"
    if facts.reason == Reason.INVALID_SPEC:
        return f"{serves}; the new spec cannot work and changes nothing"
    if facts.rejected:
        last = state.last_rollback
        ago = f" {_ago(facts.now - last.at)}" if last and last.source == facts.wanted else ""
        return f"{serves}; {facts.version(facts.wanted or '')} was rolled back{ago} and is rejected"
    return serves if facts.observed else f"{serves}; Serin has not looked at the newest spec yet"


def _unready(facts: Facts) -> bool:
    return facts.condition(ConditionType.READY).get("status") == "False"


def _rollout(facts: Facts, stable: str, candidate: str) -> str:
    down = facts.reason == Reason.STABLE_UNAVAILABLE
    if facts.state.phase is Phase.PROMOTING:
        asked = ", as a person asked" if facts.state.step.forced else ""
        what = f"promotes {candidate}{asked}: all pods first, then all requests"
    elif not facts.weight:
        rest = f"{stable}, which should serve all requests, is down" if down else f"{stable} serves all requests"
        what = f"brings up {candidate}; {rest}"
    else:
        rest = f"{stable}, which should serve the rest, is down" if down else f"{stable} serves the rest"
        what = f"tries {candidate} on {facts.weight}% of the requests; {rest}"
    held = {Reason.PAUSED_BY_USER: "; it is paused", Reason.WAITING_FOR_APPROVAL: "; it waits for approval"}
    lost = "; clients reach neither of them" if _unready(facts) and not down else ""
    return what + next((words for reason, words in held.items() if reason == facts.reason), "") + lost


def _going_back(facts: Facts, stable: str, target: str) -> str:
    ready = facts.condition(ConditionType.READY)
    down = ready.get("reason") == Reason.STABLE_UNAVAILABLE
    lost = "; clients reach neither of them" if _unready(facts) and not down else ""
    if facts.state.manual_rollback and facts.state.manual_rollback.moved is not None:
        return f"goes back to {target}, which gets all requests now{lost}"
    meanwhile = (
        f"{stable}, which should serve until then, is down" if down else f"{stable} serves until its pods are ready"
    )
    return f"goes back to {target}; {meanwhile}{lost}"


def waiting(facts: Facts) -> str:
    """The operator's own reason and sentence, with the time and the requests that are left."""
    if not facts.reason or (facts.reason == Reason.SERVING and _unready(facts)):
        return ""  # the headline says what is missing
    told = facts.message
    if facts.reason == Reason.REJECTED_CONTENT and (cause := _cause(facts)):
        return f"{cause.reason}: {cause.message}"  # the long sentence repeats it, with a command for kubectl
    if facts.reason == Reason.WAITING_FOR_APPROVAL:
        told = told.split(":")[0]  # the command for kubectl is no news to whoever has this one
    elif facts.reason == Reason.PAUSED_BY_USER:
        told = "a person holds it where it is"
    rest = left(facts) if facts.reason in (Reason.BAKING, Reason.WAITING) else ""
    return f"{facts.reason}: {told}{f'; {rest}' if rest else ''}"


def left(facts: Facts) -> str:
    """What is left of the present step, time and requests; "" when it waits for neither."""
    parts = []
    seconds = seconds_left(facts)
    if seconds:
        parts.append(human(seconds))
    requests = requests_left(facts)
    if requests and facts.weight and isinstance(facts.step, WeightStep):
        parts.append(f"about {count(requests)} more candidate requests")
    return f"{' and '.join(parts)} left" if parts else ""


def seconds_left(facts: Facts) -> float | None:
    """Seconds until the present step has baked or paused long enough, 0 when it has; None when time is no matter."""
    until = (facts.status.get("step") or {}).get("until")
    return max(0.0, parse_rfc3339(until) - facts.now) if until and facts.step else None


def requests_left(facts: Facts) -> int:
    """Candidate requests that minRequests and the verdicts of critical and major metrics still need."""
    deciding = [one for one in facts.metrics if one.get("severity") in BLOCKING]
    needed = max((int(one.get("needed", 0)) for one in deciding if one["verdict"] != Verdict.PASS), default=0)
    step = facts.step
    least = step.min_requests - facts.in_step if isinstance(step, WeightStep) else 0
    return max(needed, least, 0)


def step_text(step: Step) -> str:
    """A step as people write it: `5% for 5m`, `pause for 1h`, `pause until approved`."""
    if isinstance(step, PauseStep):
        return "pause until approved" if step.seconds is None else f"pause for {human(step.seconds)}"
    least = f", {count(step.min_requests)} requests" if step.min_requests else ""
    return f"{step.weight}% for {human(step.bake)}{least}"


def explain(facts: Facts, serin: str = "serin") -> list[str]:
    """Sentences, one paragraph each. `serin`: the command as the user typed it."""
    return [
        f"{headline(facts)}.",
        *_unseen(facts),
        *_why(facts, serin),
        *_step(facts),
        *_metrics(facts, serin),
        *_traffic(facts, serin),
        *_trouble(facts),
        *_route(facts, serin),
        *_pods(facts),
        *_deadlines(facts),
        *_earlier(facts),
        *_can(facts, serin),
    ]


def _unseen(facts: Facts) -> Iterator[str]:
    if facts.observed and facts.status:
        return
    yield (
        "The operator has not looked at the newest spec yet. That takes a second or two; if it stays so, look whether "
        "the operator runs: kubectl -n serin-system get pods"
    )


def _why(facts: Facts, serin: str) -> Iterator[str]:
    if not facts.reason:
        return
    if facts.reason == Reason.SERVING and _unready(facts):
        ready = facts.condition(ConditionType.READY)
        if found := advice(ready["reason"], facts.name, facts.namespace, serin):
            yield f"What to do: {found}"
        return
    if facts.reason == Reason.SERVING and facts.state.candidate is None:
        yield "Nothing is under way: the spec describes what serves."
        return
    told = waiting(facts)
    cause = _cause(facts) if facts.reason == Reason.REJECTED_CONTENT else None
    yield f"Why: {_full(told)}"
    if found := advice(cause.reason if cause else facts.reason, facts.name, facts.namespace, serin):
        yield f"What to do: {found}"


def _cause(facts: Facts) -> Rollback | None:
    """The rollback by which what the spec describes was rejected, while it is the last one."""
    last = facts.state.last_rollback
    return last if last and facts.rejected and last.source == facts.wanted else None


def _step(facts: Facts) -> Iterator[str]:
    step, state = facts.step, facts.state
    if step is None:
        return
    number, of = state.step.index + 1, len(facts.steps)
    where = f"Step {number} of {of} is {step_text(step)}"
    if state.step.since is None:
        yield f"{where}; it begins when the candidate's pods are ready for it."
        return
    if isinstance(step, PauseStep):
        return
    seconds = seconds_left(facts) or 0.0
    time = f"{human(seconds)} of that are left" if seconds else "that time is over"
    after = f"step {number + 1}, {step_text(facts.steps[number])}" if number < of else "the promotion"
    yield f"{where}; {time}. After it comes {after}, once every critical and major metric has passed in this step."
    if step.min_requests:
        yield f"It has {count(facts.in_step)} of the {count(step.min_requests)} requests that minRequests asks for."


def _metrics(facts: Facts, serin: str) -> Iterator[str]:
    if not facts.state.candidate or not facts.weight:
        return  # nobody asks the candidate anything yet, so there is nothing to say about it
    if facts.state.step.forced:
        yield "A person asked to promote it, so it waits for no evidence."
        return
    for one in facts.metrics:
        yield f"Metric {one['name']} ({one.get('severity', '')}): {_full(_metric(one))}"
        if one["verdict"] == Verdict.NO_DATA and one["reason"] != facts.reason:
            found = advice(one["reason"], facts.name, facts.namespace, serin)
            if found:
                yield f"What to do about {one['name']}: {found}"
    if not facts.metrics:
        yield "No metric has been read yet: the first look at Prometheus comes with the next tick."


def _metric(one: JsonObject) -> str:
    said = {
        Verdict.PASS: "passes",
        Verdict.INCONCLUSIVE: "cannot tell yet",
        Verdict.NO_DATA: "has no data",
        Verdict.FAIL_MINOR: "fails",
        Verdict.FAIL_CRITICAL: "fails badly",
    }
    verdict = said.get(Verdict(one["verdict"]), one["verdict"])
    effect = ""
    if one["verdict"] in (Verdict.FAIL_MINOR, Verdict.FAIL_CRITICAL):
        held = {Severity.MINOR.value: "; a minor metric holds the rollout", Severity.INFO.value: "; it is only shown"}
        effect = held.get(one.get("severity", ""), "; that rolls the candidate back")
    elif one.get("severity") not in BLOCKING:
        effect = "; nothing waits for it"
    return f"{verdict}: {one['message']}{effect}"


def _traffic(facts: Facts, serin: str) -> Iterator[str]:
    """Whether the requests suffice for the policy, as measured when the rollout began."""
    feasible = facts.condition(ConditionType.POLICY_FEASIBLE)
    if facts.state.candidate and feasible.get("status") == "False":
        yield f"The traffic is too low for these steps: {_full(feasible['message'])}"
        yield f"What to do: {advice(feasible['reason'], facts.name, facts.namespace, serin)}"


def _trouble(facts: Facts) -> Iterator[str]:
    """What no single metric can say: that it is not the candidate's doing."""
    found = facts.status.get("diagnosis") or {}
    if found.get("trouble") == Trouble.DATA_DRIFT:
        yield "It is the world that has changed, not the candidate: rolling back cannot help."
    elif found.get("trouble") == Trouble.INFRASTRUCTURE and found["message"] not in facts.message:
        yield _full(f"It is the infrastructure, not the candidate: {found['message']}")


def _route(facts: Facts, serin: str) -> Iterator[str]:
    routed = facts.condition(ConditionType.ROUTED)
    if routed.get("status") != "False" or routed["reason"] == facts.reason:
        return
    yield f"The route: {_full(routed['message'])} {advice(routed['reason'], facts.name, facts.namespace, serin)}"


def _pods(facts: Facts) -> Iterator[str]:
    for part, called in (("stable", "stable"), ("candidate", "candidate"), ("rollingBack", "the earlier version")):
        shown = facts.status.get(part) or {}
        snapshot, ready, wanted = shown.get("snapshot", ""), shown.get("ready", 0), shown.get("replicas", 0)
        problem = facts.problems.get(snapshot, "")
        told = f": {problem}" if problem and problem not in facts.message else ""
        if snapshot and ready < wanted and (told or facts.reason not in _SAYS_READY):
            yield _full(f"{ready} of {wanted} pods of {called} ({facts.version(snapshot)}) are ready{told}")


def _deadlines(facts: Facts) -> Iterator[str]:
    """When time alone rolls the candidate back, or ends a wish that cannot come true."""
    state, spec = facts.state, facts.spec
    if state.manual_rollback and state.manual_rollback.moved is None and spec:
        rest = state.manual_rollback.since + spec.progress_deadline - facts.now
        yield f"If its pods are not ready {_within(rest)} (progressDeadline), {facts.version(str(state.stable))} stays."
    if not state.candidate or spec is None:
        return
    shown = facts.status.get("candidate") or {}
    if state.step.since is None and state.step.entered and shown.get("ready", 0) < shown.get("replicas", 0):
        rest = state.step.entered + spec.progress_deadline - facts.now
        yield f"If its pods are not ready {_within(rest)} (progressDeadline), it is rolled back."
    if spec.canary.max_duration is not None:
        rest = state.candidate_since + spec.canary.max_duration - facts.now
        yield f"If it is not promoted {_within(rest)} (maxDuration), it is rolled back."
    silent = any(one["verdict"] == Verdict.NO_DATA and one.get("severity") in BLOCKING for one in facts.metrics)
    if silent and facts.weight and not state.step.forced:
        after = human(spec.analysis.on_no_data_after)
        if spec.analysis.on_no_data is NoDataAction.ROLLBACK:
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


def _can(facts: Facts, serin: str) -> Iterator[str]:
    name = facts.name
    if not (facts.state.candidate or facts.state.manual_rollback or facts.rejected):
        return
    paused = facts.annotations.get(ANNOTATION_PAUSE) not in (None, "false")
    ways = [(f"{serin} {verb} {name}", what) for verb, what in _ways(facts, paused=paused)]
    width = max(len(command) for command, _ in ways)
    yield "\n".join(["You can:", *(f"  {command:{width}}   {what}" for command, what in ways)])


def _ways(facts: Facts, *, paused: bool) -> Iterator[tuple[str, str]]:
    if facts.state.manual_rollback:
        yield "abort", f"stay with {facts.version(str(facts.state.stable))}"
        return
    if facts.state.candidate is None:
        yield "retry", "try the same version again"
        return
    if isinstance(facts.step, PauseStep) and facts.state.step.since is not None:
        yield "approve", "go on now"
    yield ("resume", "go on with the steps") if paused else ("pause", "hold it where it is")
    if not facts.state.step.forced:
        yield "promote", "make it stable without waiting for the evidence"
    yield "abort", "all requests back to stable at once"


def _ago(seconds: float) -> str:
    return f"{human(seconds)} ago" if seconds >= 1 else "just now"


def _within(seconds: float) -> str:
    return f"within {human(seconds)}" if seconds > 0 else "at the next look"


def _full(sentence: str) -> str:
    """With a full stop, unless it ends with one or with a command."""
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
