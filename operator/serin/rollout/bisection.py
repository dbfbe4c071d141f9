"""Partial rollback: which dimension of a rejected version is to blame, and what serves without it.

It begins where a rollback ends. Stable has all traffic by then, and nothing here delays that. When the version changed
several dimensions, combinations are tried, one after the other: the rejected version with one dimension as stable has
it (`scope: auto`, the most suspicious one first), or with those that the spec lists. Each is a candidate like any
other, with the strategy's own probes, steps and evidence, and the first one that is promoted names the culprit.

There are at most as many tries as changed dimensions, and never two at once. What was rejected stays so. A person who
aborts or goes back ends it, and so does another spec (api/effective.py). The kill switch and a pause hold it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from serin.api.conditions import Reason
from serin.api.effective import combined
from serin.api.names import ANNOTATION_ABORT, snapshot_named
from serin.api.snapshots import Snapshot
from serin.api.spec import AUTO, Metric, TemplateRef
from serin.api.split import all_to
from serin.api.state import Bisection, RollbackRecord, Try
from serin.api.verdicts import Trouble
from serin.rollout.model import Note
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.requests import handle
from serin.rollout.snapshots import is_rejected
from serin.rollout.summary import changed

_BY_A_PERSON: Final = (Reason.ABORTED_BY_USER, Reason.ROLLED_BACK_BY_USER)
# Nothing was found to be wrong with the version: no other version of it could show what is.
_WITHOUT_EVIDENCE: Final = (*_BY_A_PERSON, Reason.MAX_DURATION_EXCEEDED, Reason.NO_DATA_FOR_TOO_LONG)

# The most suspicious dimension first. How requests are answered (errors, time), and whether pods run at all, is mostly
# the server's affair; what a metric of the user's own says is mostly about the answers, which the model gives.
_OF_SERVING: Final = ("runtime", "config", "model", "features")
_OF_ANSWERS: Final = ("model", "features", "config", "runtime")
_BY_ITS_ANSWERS: Final = (Reason.GOLDEN_PROBE_FAILED, Reason.SIGNATURE_INCOMPATIBLE)
# What the built-in templates of requests are called, of every router.
_REQUESTS: Final = "request-"


def bisect(builder: PlanBuilder) -> None:
    """What this look's rollback, or promotion, means for the search; it is the last word on what serves next."""
    last, before, search = builder.state.last_rollback, builder.seen.state.last_rollback, builder.state.bisection
    if last and last != before and not last.retried:
        if search is None:
            _begin(builder, last)
        elif search.present and search.present.snapshot == last.source:
            _fail(builder, search, last)
    elif search and search.present and not search.message and search.present.snapshot == builder.state.stable:
        _find(builder, search, search.present)


def stopped(builder: PlanBuilder) -> bool:
    """Whether a person ends the search in this look, before the next combination has begun."""
    search, stable = builder.state.bisection, builder.state.stable
    if search is None or search.present is None or builder.state.rollout or stable is None:
        return False
    if search.present.snapshot == stable or not handle(builder, ANNOTATION_ABORT):
        return False
    builder.update(bisection=_ended(search), split=all_to(stable))
    builder.sum_up(Note(Reason.ABORTED_BY_USER, f"{stable} stays: aborted by the user", warning=True), event=True)
    return True


def _begin(builder: PlanBuilder, cause: RollbackRecord) -> None:
    """Decide what is tried; nothing without a policy that asks for it, and evidence against what the spec describes."""
    seen, scope = builder.seen, builder.seen.deployment.spec.rollback.scope
    own, stable = next(iter(seen.declared)), builder.state.stable
    unproven = cause.reason in _WITHOUT_EVIDENCE or cause.trouble == Trouble.INFRASTRUCTURE
    known = {cause.source, cause.target} <= seen.snapshots.keys()
    different = changed(seen, cause.target, cause.source) if known else ()
    if not scope or not different or unproven or (cause.source, cause.target) != (own, stable):
        return
    each: list[tuple[str, ...]] = [(one,) for one in _order(builder, cause) if one in different]
    reverts = each if scope == (AUTO,) else [tuple(one for one in scope if one in different)]
    tries = tuple(_try(builder, cause, one) for one in reverts if 0 < len(one) < len(different))
    left = tuple(one for one in tries if not is_rejected(seen.snapshots, builder.state, one.snapshot))
    search = Bisection(cause, scope, left, "" if left else _nothing_to_try(different, scope, tries))
    builder.update(bisection=search)
    _tell_next(builder, search)


def _try(builder: PlanBuilder, cause: RollbackRecord, reverts: tuple[str, ...]) -> Try:
    rejected, base = (builder.seen.snapshots[one].hashes for one in (cause.source, cause.target))
    return Try(snapshot_named(builder.seen.deployment.name, combined(rejected, base, reverts)), reverts)


def _order(builder: PlanBuilder, cause: RollbackRecord) -> tuple[str, ...]:
    """Dimensions, the most suspicious one first: what the metric that failed points to, or that no pod could run."""
    if cause.reason in _BY_ITS_ANSWERS:
        return _OF_ANSWERS
    metric = next((one for one in builder.seen.deployment.spec.metrics if one.name == cause.metric), None)
    return _OF_SERVING if metric is None or _is_of_requests(metric) else _OF_ANSWERS


def _is_of_requests(metric: Metric) -> bool:
    return isinstance(metric.source, TemplateRef) and metric.source.name.startswith(_REQUESTS)


def _nothing_to_try(different: tuple[str, ...], scope: tuple[str, ...], tries: tuple[Try, ...]) -> str:
    """Why there is no combination to try."""
    told = _listed(different)
    if tries:
        return f"{told} were changed, and every combination to try was rejected before"
    if len(different) == 1:
        return f"{told} is to blame: nothing else was changed"
    listed = f"spec.rollback.dimensions ({_listed(scope)})"
    if set(different) <= set(scope):
        return f"{told} were changed, and {listed} reverts them all, as is done already"
    return f"{told} were changed, and nothing of {listed}"


def _fail(builder: PlanBuilder, search: Bisection, why: RollbackRecord) -> None:
    """The combination was rolled back: to the next one, or to the end."""
    failed = [
        replace(one, reason=why.reason, message=why.message, at=why.at) if one is search.present else one
        for one in search.tries
    ]
    search = replace(search, tries=tuple(failed), message="")
    if why.reason in _BY_A_PERSON:
        search = _ended(search)
    elif search.present is None:
        search = replace(search, message=_no_culprit(search))
    builder.update(bisection=search)
    _tell_next(builder, search)


def _ended(search: Bisection) -> Bisection:
    """A person wants no more of it: what was tried is remembered."""
    tried = tuple(one for one in search.tries if one.reason)
    return replace(search, tries=tried, message="the search for what is to blame was ended by the user")


def _no_culprit(search: Bisection) -> str:
    base = search.cause.target
    told = (f"with the {_listed(one.reverts)} of {base} it was rolled back too ({one.message})" for one in search.tries)
    return "; ".join(told)


def _find(builder: PlanBuilder, search: Bisection, found: Try) -> None:
    """The combination is stable: what it reverts is to blame, unless a person has promoted it."""
    rollout = builder.seen.state.rollout
    message = _in_words(builder, search.cause, found)
    if rollout and rollout.stage.forced:
        message = f"{found.snapshot} was promoted by a person, so what is to blame is not known"
    builder.update(bisection=replace(search, message=message))


def _in_words(builder: PlanBuilder, cause: RollbackRecord, found: Try) -> str:
    """What is to blame, and what serves: "runtime is to blame: model 8 runs on the runtime of model 7"."""
    rejected, base = _called(builder.seen.snapshots, cause)
    blamed = f"{_listed(found.reverts)} {'is' if len(found.reverts) == 1 else 'are'} to blame"
    if "model" not in found.reverts:
        return f"{blamed}: {rejected} runs on the {_listed(found.reverts)} of {base}"
    kept = changed(builder.seen, cause.target, found.snapshot)
    return f"{blamed}: {base} runs on the {_listed(kept)} of {rejected}" if kept else blamed  # base was deleted


def _called(snapshots: Mapping[str, Snapshot], cause: RollbackRecord) -> tuple[str, str]:
    """The rejected version and stable as people call them: by the model's version, where that tells them apart."""
    both = (cause.source, cause.target)
    versions = [snapshots[one].model_version if one in snapshots else "" for one in both]
    if all(versions) and len(set(versions)) == 2:
        return f"model {versions[0]}", f"model {versions[1]}"
    return both


def _tell_next(builder: PlanBuilder, search: Bisection) -> None:
    """An Event of what is tried now, while traffic is on stable."""
    if search.present is None:
        return
    place = 1 + search.tries.index(search.present)
    which = f"combination {place} of {len(search.tries)}"
    told = f"{search.cause.source} with the {_listed(search.present.reverts)} of {search.cause.target}"
    builder.add_event(Reason.BISECTING, f"{search.present.snapshot} is tried next, {which}: {told}")


def _listed(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
