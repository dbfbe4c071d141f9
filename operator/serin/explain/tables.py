"""Facts as rows and cells: the same for a terminal, a web page and a report; layout and colours are theirs.

`Tone` says how a cell is meant, so that whoever draws it needs to know neither verdicts nor conditions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from serin.api import names
from serin.api.kill_switch import KillSwitch
from serin.api.records import summary
from serin.api.snapshots import Snapshot
from serin.api.state import MetricStatus
from serin.api.text import count
from serin.api.times import human
from serin.api.verdicts import SnapshotVerdict, Verdict
from serin.explain import notifications, retraining
from serin.explain.facts import Facts
from serin.explain.plot import has_plot
from serin.explain.sentences import headline, waiting
from serin.explain.snapshots import changed_since, found_since, newest_first, served

NONE: Final = "-"
WHY: Final = "WHY"  # the column of sentences: the only one that may be wrapped
_GOING_BACK: Final = "going back"


class Tone(StrEnum):
    """How a cell is meant."""

    PLAIN = "plain"
    STRONG = "strong"
    FAINT = "faint"  # what is not there yet, or no longer
    GOOD = "good"
    BUSY = "busy"  # under way
    UNSURE = "unsure"
    BAD = "bad"
    WORST = "worst"


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, and how it is meant."""

    text: str
    tone: Tone = Tone.PLAIN


Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Every row has a cell for each column."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class StatusView:
    """One deployment: what happens, why, who serves, how far, and on what numbers. What does not apply is None or "".

    `stages`: the way through the rollout, in order. `retraining`: the newest one in a sentence.
    `notifications`: those that their receivers do not take, in a sentence. `plots`: metrics of which there is one.
    """

    headline: Cell
    waiting: str
    versions: Table | None = None
    stages: Row = ()
    metrics: Table | None = None
    retraining: str = ""
    notifications: str = ""
    plots: tuple[MetricStatus, ...] = ()


_OF_VERDICT: Final[dict[str, Tone]] = {
    Verdict.PASS: Tone.GOOD,
    Verdict.INCONCLUSIVE: Tone.UNSURE,
    Verdict.NO_DATA: Tone.UNSURE,
    Verdict.FAIL_MINOR: Tone.BAD,
    Verdict.FAIL_CRITICAL: Tone.WORST,
    SnapshotVerdict.PROMOTED: Tone.GOOD,
    SnapshotVerdict.ROLLED_BACK: Tone.BAD,
}


def verdict(said: str) -> Cell:
    """A verdict, and how it is meant."""
    return Cell(said or NONE, _OF_VERDICT.get(said, Tone.PLAIN))


# ── One deployment ────────────────────────────────────────────────────────────────────────────────────────────────────


def status(facts: Facts) -> StatusView:
    """The whole view of one deployment."""
    return StatusView(
        headline=Cell(headline(facts), _tone(facts)),
        waiting=waiting(facts),
        versions=_versions(facts) if facts.state.stable else None,
        stages=tuple(_stages(facts)),
        metrics=_metrics(facts.metrics) if facts.is_measured and facts.metrics else None,
        retraining=retraining.line(facts),
        notifications=notifications.line(facts),
        plots=tuple(filter(has_plot, facts.metrics)) if facts.is_measured else (),
    )


def _tone(facts: Facts) -> Tone:
    if facts.ready.holds is False and facts.state.stable:
        return Tone.BAD
    if facts.rejected or facts.stalled or facts.over_limits:
        return Tone.UNSURE
    return Tone.GOOD if facts.serves_what_is_wanted else Tone.BUSY


def _versions(facts: Facts) -> Table:
    rows = tuple(_version(facts, snapshot, role) for snapshot, role in roles(facts).items())
    return Table(("", "VERSION", "SNAPSHOT", "REQUESTS", "PODS READY", "CHANGED"), rows)


def _version(facts: Facts, snapshot: str, role: str) -> Row:
    shown, measured = facts.pods(snapshot), facts.status.observed.get(snapshot)
    share = f"{facts.state.split.of(snapshot)}%{f' ({measured} seen)' if measured else ''}"
    if snapshot == facts.state.candidate and facts.stage.cohort:
        share = facts.stage.cohort
    if (mirror := facts.state.split.mirror) and mirror.snapshot == snapshot:
        share = f"copies of {mirror.percent}%"
    if facts.state.kill_switch is KillSwitch.ALL:
        share = "none"
    pods = f"{shown.ready} of {shown.replicas}"
    return plain(role, shown.model or NONE, snapshot, share, pods, ", ".join(shown.changed))


def roles(facts: Facts) -> dict[str, str]:
    """The snapshots that have a part in what happens, and which."""
    state = facts.state
    found = {state.stable: names.ROLE_STABLE, state.candidate: names.ROLE_CANDIDATE}
    if state.rollout and len(state.rollout.arms) > 1:
        found |= {arm.snapshot: f"arm, {arm.standing.lower()}" for arm in state.rollout.arms}
    if state.manual_rollback:
        found.setdefault(state.manual_rollback.target, _GOING_BACK)
    if state.watch:
        found.setdefault(state.watch.before, names.ROLE_HOLDBACK)
    return {snapshot: role for snapshot, role in found.items() if snapshot}


def _stages(facts: Facts) -> Iterator[Cell]:
    """What has passed, where it is, what comes."""
    rollout, stage = facts.rollout, facts.stage
    if rollout is None or not stage.titles:
        return
    if rollout.stage.forced:
        yield Cell("skipped, as a person asked", Tone.FAINT)
        yield Cell("▶ promoted")
        return
    for index, title in enumerate(stage.titles):
        if index < stage.index:
            yield Cell(f"✓ {title}", Tone.GOOD)
        elif index == stage.index:
            yield Cell(f"▶ {title}", Tone.STRONG)
        else:
            yield Cell(title, Tone.FAINT)
    yield Cell("promoted", Tone.FAINT) if stage.title else Cell("▶ promoted", Tone.STRONG)


def _metrics(metrics: Sequence[MetricStatus]) -> Table:
    columns = ("METRIC", "SEVERITY", "VERDICT", "ESTIMATE", "INTERVAL", "REQUESTS", WHY)
    return Table(columns, tuple(map(_metric, metrics)))


def _metric(one: MetricStatus) -> Row:
    head = (*plain(one.name, one.severity or NONE), verdict(one.verdict))
    numbers = one.estimate or NONE, one.interval or NONE, count(one.requests)
    return (*head, *plain(*numbers, f"{one.reason}: {one.message}"))


def plain(*texts: str) -> Row:
    """Cells that mean nothing but what they say."""
    return tuple(map(Cell, texts))


# ── Many deployments, and many versions ───────────────────────────────────────────────────────────────────────────────


def listing(all_facts: Sequence[Facts], *, namespaces: bool) -> Table:
    """One row per deployment."""
    head = ("NAMESPACE",) if namespaces else ()
    columns = (*head, "NAME", "STABLE", "CANDIDATE", "WEIGHT", "STEP", "VERDICT", "READY", "REASON")
    return Table(columns, tuple(_deployment(one, namespaces=namespaces) for one in all_facts))


def _deployment(facts: Facts, *, namespaces: bool) -> Row:
    state = facts.state
    versions = [facts.version(one) if one else NONE for one in (state.stable, state.candidate)]
    mirror = facts.state.split.mirror
    weight = f"copies {mirror.percent}%" if mirror else f"{facts.weight}%" if facts.rollout else NONE
    holds = {True: "True", False: "False", None: "Unknown"}[facts.ready.holds]
    return (
        *plain(*((facts.namespace,) if namespaces else ()), facts.name, *versions),
        *plain(weight, facts.stage.position or NONE),
        verdict(facts.status.verdict if facts.rollout or facts.watched else ""),
        Cell(holds),
        Cell(facts.reason or "NotSeenYet", _tone(facts)),
    )


def history(facts: Facts, snapshots: Sequence[Snapshot]) -> Table:
    """One row per snapshot, newest first."""
    ordered = newest_first(snapshots)
    before = [*ordered[1:], None]
    rows = tuple(_past(facts, one, earlier) for one, earlier in zip(ordered, before, strict=True))
    columns = (
        "SNAPSHOT",
        "MODEL",
        "NOW",
        "VERDICT",
        "DECIDED",
        "SERVED",
        "CHANGED",
        "MEASURED",
        "REVISION",
        "AGE",
        WHY,
    )
    return Table(columns, rows)


def _past(facts: Facts, one: Snapshot, before: Snapshot | None) -> Row:
    rolled_back = one.verdict == SnapshotVerdict.ROLLED_BACK
    decided = one.rolled_back if rolled_back else one.promoted if one.verdict == SnapshotVerdict.PROMOTED else None
    return (
        *plain(one.name, one.model_version or NONE, roles(facts).get(one.name, NONE)),
        verdict(one.verdict or ""),
        Cell(NONE if decided is None else f"{human(facts.now - decided)} ago"),
        *plain(
            served(one, facts.now) or NONE, ", ".join((*changed_since(one, before), *found_since(one, before))) or NONE
        ),
        *plain(summary(one.records) or NONE, one.revision[:12] or NONE, human(facts.now - one.created)),
        Cell(f"{one.reason}: {one.message}" if rolled_back and one.reason else ""),
    )
