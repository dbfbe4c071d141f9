"""The same question of the whole and of each slice: is the version worse for one country, one tenant, one class?

A version can be as good as ever on the whole and bad for a few. So the requests are counted by a label too, and each of
its values is judged as the whole is (ratio.py, or slo.py against a limit). The policy's part of the promise is that of
one judgement: whoever makes the policy has split it over the whole and MOST slices, so all of them together keep it,
whichever values turn up. The first MOST values that have requests of either version are slices, those with the most
requests first, since which they are must not depend on how many failed; others count in the whole alone.

The worst slice decides, among those with enough requests. Passing takes the whole alone: a slice with few requests
could never be shown to be good, and would hold every rollout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from types import MappingProxyType, ModuleType
from typing import Any, Final

from serin.analysis import ratio, slo, text
from serin.analysis.evidence import Evidence, Kind, Unreadable, Unusable, number, word
from serin.analysis.types import Arm, MetricVerdict, Policy, RatioTick, SlicedTick
from serin.api.conditions import Reason
from serin.api.verdicts import FAILURES, Against, Verdict

MOST: Final = 8
JUDGEMENTS: Final = MOST + 1  # over which the promise is split

_MODULES: Final[Mapping[str, ModuleType]] = MappingProxyType({Kind.RATIO: ratio, Kind.LIMIT: slo})


@dataclass(frozen=True, slots=True)
class State:
    """`of`: which module the states of the whole and of each slice belong to. Any: each has a state of its own.

    `by`: the label. `values`: how many values of it had requests in one tick, at most.
    """

    at: float
    of: str
    by: str
    values: int
    whole: Any
    slices: Mapping[str, Any]


def _kind(policy: Policy) -> str:
    return Kind.LIMIT if policy.against is Against.LIMIT else Kind.RATIO


def fold(policy: Policy, before: State | None, tick: SlicedTick) -> State:
    """The state after `tick`."""
    kind = _kind(policy)
    method, kept = _MODULES[kind], before if before and before.of == kind else None
    whole = method.fold(policy, kept.whole if kept else None, tick.whole)
    same = kept if kept and kept.by == policy.by else None  # values of another label are other slices
    slices = dict(same.slices) if same else {}
    for name, (candidate, stable) in sorted(tick.slices.items(), key=_requests, reverse=True):
        if name in slices or len(slices) < MOST:
            slices[name] = method.fold(policy, slices.get(name), RatioTick(tick.at, candidate, stable))
    return State(tick.at, kind, policy.by, max(len(tick.slices), same.values if same else 0), whole, slices)


def _requests(one: tuple[str, tuple[Arm, Arm]]) -> tuple[float, str]:
    """Of both versions: at the first look the candidate has had too few to tell a large slice from a small one."""
    name, arms = one
    return sum(arm.requests for arm in arms), name


def judge(policy: Policy, state: State) -> MetricVerdict:
    """The verdict of the worst slice that fails, else of the whole; requests and what is needed are of the whole."""
    if state.of != _kind(policy) or state.by != policy.by:
        raise Unusable(Reason.PARTIAL, "the metric asks something else since, and nothing was counted for that yet")
    method = _MODULES[state.of]
    whole: MetricVerdict = method.judge(policy, state.whole)
    slices: dict[str, MetricVerdict] = {name: method.judge(policy, one) for name, one in state.slices.items()}
    enough = {name: one for name, one in slices.items() if _has_enough(policy, state.slices[name], one)}
    failing = [name for name, one in enough.items() if one.verdict in FAILURES]
    if not failing or whole.verdict is Verdict.FAIL_CRITICAL:
        return changed(whole, message=f"{whole.message}; {_of_slices(policy, state, enough)}") if slices else whole
    worst = max(failing, key=lambda name: (enough[name].verdict is Verdict.FAIL_CRITICAL, enough[name].log_e))
    message = f"{policy.by} {worst}: {enough[worst].message}; on the whole: {whole.message}"
    return changed(enough[worst], message=message, requests=whole.requests, needed=whole.needed)


def _has_enough(policy: Policy, state: Any, found: MetricVerdict) -> bool:
    """Whether the candidate has had enough of a slice, and stable any, where it is compared with."""
    return found.requests >= policy.slice_requests and not (isinstance(state, ratio.State) and not state.total.stable)


def _of_slices(policy: Policy, state: State, enough: Mapping[str, MetricVerdict]) -> str:
    bad = sorted(name for name, one in enough.items() if one.verdict in FAILURES)
    if bad:
        return f"also of {policy.by} {', '.join(bad)}"
    beyond = state.values - len(state.slices)
    others = f" ({text.count(beyond)} more count in the whole alone)" if beyond > 0 else ""
    if not enough:
        of = "" if policy.against is Against.LIMIT else " of the candidate, and any of stable,"
        return f"no value of {policy.by} has {text.count(policy.slice_requests)} requests{of} yet{others}"
    return f"no {policy.by} is proven worse, of {len(enough)} with enough requests{others}"


def write(state: State) -> Evidence:
    """As JSON."""
    method = _MODULES[state.of]
    return {
        "kind": Kind.SLICED.value,
        "at": state.at,
        "of": str(state.of),
        "by": state.by,
        "values": state.values,
        "whole": dict(method.write(state.whole)),
        "slices": {name: dict(method.write(one)) for name, one in state.slices.items()},
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    of, whole, slices = word(evidence, "of"), evidence.get("whole"), evidence.get("slices")
    if of not in _MODULES or not isinstance(whole, dict) or not isinstance(slices, dict) or len(slices) > MOST:
        raise Unreadable("of, whole, slices: not as they are written")
    method, found = _MODULES[of], dict[str, Any]()
    for name, one in slices.items():
        if not isinstance(one, dict):
            raise Unreadable(f"slices: expected a map, got {one!r}")
        found[name] = method.read(one)
    by, values = word(evidence, "by"), int(number(evidence, "values"))
    return State(number(evidence, "at"), of, by, values, method.read(whole), found)
