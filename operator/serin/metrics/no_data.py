"""Why there is nothing to count: no requests, a target that is down, or a series that does not exist.

Asked only when a collection found nothing. Two queries, for all deployments of a template at once: which targets had
the series in the last hour, and whether Prometheus can scrape them (`up`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serin.analysis.types import NoData
from serin.api.conditions import Reason
from serin.metrics.answers import Answer, Ask, Failed, Partial, Series, Value
from serin.metrics.counting import Target, target_of
from serin.metrics.promql import (
    DEPLOYMENT_LABEL,
    NAMESPACE_LABEL,
    SNAPSHOT_LABEL,
    Version,
    any_of,
    fill,
    matchers_of,
)
from serin.metrics.readings import Owner, owner_of


@dataclass(frozen=True, slots=True)
class _Known:
    """What Prometheus knows: targets per snapshot in the last hour, and `up` per target and per labelled snapshot."""

    targets: Mapping[Owner, frozenset[Target]]
    up: Mapping[Target, bool]
    up_by_owner: Mapping[Owner, bool]


async def diagnose(
    ask: Ask, selector: str, version: str, owners: Sequence[Owner], at: float, only: str = ""
) -> dict[Owner, NoData]:
    """Give the reason for each snapshot whose series are missing or have stopped.

    `selector`: the series that should be there, {{.version}} still in it; `version`: the label matchers of the
    snapshots; `at`: unix seconds, the upper end of the window that had nothing; `only`: the matchers in the selector
    that Serin has added (see sources.py).
    """
    by = f"job,instance,{NAMESPACE_LABEL},{DEPLOYMENT_LABEL},{SNAPSHOT_LABEL}"
    whole = fill(selector, {"version": version})
    seen = await ask(f"group by ({by}) (last_over_time({whole}[1h]))", at)
    if failure := failure_of(seen):
        return dict.fromkeys(owners, failure)
    targets: dict[Owner, set[Target]] = {}
    for one in series_of(seen):
        targets.setdefault(owner_of(one.labels), set()).add(target_of(one.labels))
    up = await ask(_up_query({target for each in targets.values() for target in each}, version), at)
    if failure := failure_of(up):
        return dict.fromkeys(owners, failure)
    known = _Known(
        {owner: frozenset(found) for owner, found in targets.items()},
        {target_of(one.labels): one.values[-1] > 0 for one in series_of(up)},
        _up_by_owner(series_of(up)),
    )
    return {owner: _explain(owner, known, selector, only) for owner in owners}


def failure_of(answer: Answer) -> NoData | None:
    """Why an answer cannot be used; None for a whole answer, even one without series."""
    match answer:
        case Failed():
            return NoData(answer.reason, answer.message)
        case Partial():
            return NoData(Reason.PARTIAL, f"Prometheus gave a partial answer: {'; '.join(answer.warnings)}")
        case _:
            return None


def series_of(answer: Answer) -> tuple[Series, ...]:
    """Give the series of a whole answer, none of any other."""
    return answer.series if isinstance(answer, Value) else ()


def _up_query(targets: set[Target], version: str) -> str:
    labelled = f"up{{{version}}}"
    if not targets:
        return labelled
    jobs = any_of("job", [job for job, _ in targets])
    instances = any_of("instance", [instance for _, instance in targets])
    return f"up{{{jobs},{instances}}} or {labelled}"


def _up_by_owner(series: Sequence[Series]) -> dict[Owner, bool]:
    found: dict[Owner, bool] = {}
    for one in series:
        owner = owner_of(one.labels)
        if owner[2]:
            found[owner] = found.get(owner, False) or one.values[-1] > 0
    return found


def _explain(owner: Owner, known: _Known, selector: str, only: str) -> NoData:
    snapshot = owner[2]
    own = known.targets.get(owner, frozenset())
    if own:
        if any(known.up.get(target) for target in own):
            return NoData(Reason.STALE, f"{snapshot}: its targets are up, but its series have stopped")
        return NoData(Reason.TARGET_DOWN, f"{snapshot}: {_describe(own, known)}")
    if known.up_by_owner.get(owner):
        return NoData(Reason.NO_TRAFFIC, f"{snapshot}: its pods are scraped, but have counted no request yet")
    if owner in known.up_by_owner:
        return NoData(Reason.TARGET_DOWN, f"{snapshot}: Prometheus cannot scrape its pods")
    others = frozenset(target for each in known.targets.values() for target in each)
    if others and not any(known.up.get(target) for target in others):
        return NoData(Reason.TARGET_DOWN, f"{snapshot}: {_describe(others, known)}")
    # Of this snapshot alone: the query was about others too, which are nobody's business here.
    own_selector = fill(selector, {"version": matchers_of([Version(owner[0], owner[1], (snapshot,))])})
    return NoData(
        Reason.SERIES_ABSENT,
        f"{snapshot}: no series in the last hour for {own_selector}; check that Prometheus scrapes what exposes it"
        + (f", and labels it {only}: series without count for nobody" if only else ""),
    )


def _describe(targets: frozenset[Target], known: _Known) -> str:
    """Name up to three targets and what is wrong with them."""
    shown = ", ".join(f"{instance or '?'} (job {job or '?'})" for job, instance in sorted(targets)[:3])
    if any(target in known.up for target in targets):
        return f"Prometheus cannot scrape {shown}"
    return f"{shown} is no longer among Prometheus' targets"
