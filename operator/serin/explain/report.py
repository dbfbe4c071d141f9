"""What is left to say after a rollback: a page for the people who look into it, made of status, records and Events.

Every number is one that was kept when it was decided. What nobody has kept is said to be unknown, and never guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from serin.api import names
from serin.api.json import JsonObject
from serin.api.records import Measurement, Occasion, in_words
from serin.api.retraining import Run
from serin.api.snapshots import Snapshot
from serin.api.state import ClientRequests, RollbackRecord, State
from serin.api.status import read_metric
from serin.api.text import count
from serin.api.times import human, parse_rfc3339, rfc3339_whole
from serin.api.verdicts import FAILURES, Trouble
from serin.explain import differences, pods
from serin.explain.document import Document, Section
from serin.explain.plot import has_plot
from serin.explain.pods import Pods, since
from serin.explain.tables import NONE, Table

# Seconds. Records of one rollback are written at the same look, in whole milliseconds.
_SAME: Final = 1.0
# Of the story: what was told before the version came up, and after it was left.
_BEFORE: Final = 60.0
_AFTER: Final = 900.0
_MOST_NOTES: Final = 60
_NO_EVENTS: Final = "No Events are known: Kubernetes keeps them for an hour, and not everybody may read them."

_DIAGNOSES: Final = {
    Trouble.BAD_MODEL: "The stable version served its share of the requests well in the same seconds.",
    Trouble.INFRASTRUCTURE: "Stable or the router was in trouble at the same time: the version may not be at fault.",
    Trouble.DATA_DRIFT: "What clients send has changed for both versions.",
}


@dataclass(frozen=True, slots=True)
class Note:
    """An Event as it was told. `at`: unix seconds."""

    at: float
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """One rollback: the version that was left, the one that serves since (None: not known any more), and why.

    `retraining`: the newest one, when it was begun since.
    """

    source: Snapshot
    target: Snapshot | None
    record: RollbackRecord
    retraining: Run | None = None


def shield_of(body: JsonObject) -> str:
    """The shield of a ModelDeployment's router, "" when it has none."""
    router = body["spec"].get("router") or {}
    envoy = router.get("envoy") if isinstance(router, dict) else None
    return str(envoy.get("shield", "")) if isinstance(envoy, dict) else ""


def notes_of(events: Sequence[JsonObject]) -> list[Note]:
    """Events of events.k8s.io/v1 as notes, oldest first; those without a readable time are left out."""
    found = []
    for event in events:
        moment = event.get("eventTime") or event.get("deprecatedFirstTimestamp")
        try:
            at = parse_rfc3339(str(moment))
        except ValueError:
            continue
        found.append(Note(at, str(event.get("reason", "")), str(event.get("note", ""))))
    return sorted(found, key=lambda one: one.at)


def rollbacks(state: State, snapshots: Mapping[str, Snapshot]) -> list[Rollback]:
    """Every rollback that is still known, newest first: of each rejected version the last one."""
    found = []
    for one in snapshots.values():
        last = state.last_rollback
        if last and last.source == one.name:
            found.append(Rollback(one, snapshots.get(last.target), last))
        elif one.rolled_back is not None:
            target = _went_to(one.rolled_back, snapshots)
            said = RollbackRecord(one.name, target.name if target else "", one.reason, one.message, one.rolled_back)
            found.append(Rollback(one, target, said))
    found.sort(key=lambda one: one.record.at, reverse=True)
    run = state.retraining.run if state.retraining else None
    if found and run and run.at >= found[0].record.at - _SAME:
        found[0] = replace(found[0], retraining=run)
    return found


def _went_to(at: float, snapshots: Mapping[str, Snapshot]) -> Snapshot | None:
    """The version to which everything came back then."""
    for one in snapshots.values():
        for record in one.records:
            if record.occasion is Occasion.RESTORED and abs(record.at - at) < _SAME:
                return one
    return None


def report(
    name: str, rollback: Rollback, notes: Sequence[Note], shield: str = "", known: Pods | None = None
) -> Document:
    """The page about one rollback of the deployment `name`.

    `shield`: the router's setting, "" when there is none. `known`: of pods of the namespace; None: nobody has looked.
    """
    sections = (
        Section("What happened", tuple(_happened(name, rollback))),
        _numbers(rollback),
        Section("Requests", tuple(_requests(rollback, shield))),
        _timeline(rollback, notes),
        *([pods.section(rollback.source.name, known, _begun(rollback), rollback.record.at)] if known else ()),
        _metrics(rollback),
        _diff(rollback),
        _measured(rollback),
        Section("Notes", ("What was the cause:", "What would have shown it before the rollout:", "What is done now:")),
    )
    title = f"{name}: {_called(rollback.source)} was rolled back"
    return Document(title, tuple(one for one in sections if one.sentences or one.rows))


def _called(one: Snapshot) -> str:
    return f"model {one.model_version} ({one.name})" if one.model_version else one.name


def _happened(name: str, rollback: Rollback) -> Iterator[str]:
    record = rollback.record
    to = f" and everything went to {_called(rollback.target)}" if rollback.target else ""
    yield f"At {rfc3339_whole(record.at)} {_called(rollback.source)} of {name} was rolled back{to}."
    yield f"{record.reason}: {record.message}" if record.message else record.reason
    trouble = next((one for one in Trouble if one == record.trouble), None)
    if trouble in _DIAGNOSES:
        yield f"Diagnosis: {trouble}. {_DIAGNOSES[trouble]}"
    if record.retried:
        yield "A person has asked to try the version again since."
    if run := rollback.retraining:
        begun = f"Retraining {run.name} was begun {human(run.at - record.at)} later"
        yield f"{begun} ({run.cause.trigger}: {run.cause.message}); so far: {run.phase}."


def _numbers(rollback: Rollback) -> Section:
    record, counted = rollback.record, _counted_since(rollback)
    seen = record.first_bad if record.first_bad is not None else counted
    detected = "" if seen is None else human(record.at - seen)
    of_what = "first bad request" if record.first_bad is not None else "first counted request"
    rows = [
        ("metric", record.metric),
        ("estimate", record.estimate),
        ("interval", record.interval),
        (f"time to detect, from the {of_what}", detected),
        ("time to restore, from the decision", _restored(record)),
        *_clients(record.clients),
        ("Git revision", rollback.source.revision),
        ("author", next((one.author for one in rollback.source.records if one.author), "")),
    ]
    return Section("Numbers", columns=("", ""), rows=tuple(row for row in rows if row[1]))


def _clients(clients: ClientRequests | None) -> Iterator[tuple[str, str]]:
    if clients:
        yield "requests of clients exposed to it", count(clients.exposed)
        yield "failed for their client", count(clients.failed)
        yield "answered by stable in its place", count(clients.shielded)


def _restored(record: RollbackRecord) -> str:
    if record.restored is None:
        return ""
    seconds = record.restored - record.at
    return f"{seconds:.1f}s" if seconds < 10 else human(seconds)


def _last_measured(rollback: Rollback) -> tuple[Measurement, ...]:
    """What was measured of the version that was left, by its record of that."""
    records = (one for one in reversed(rollback.source.records) if one.occasion is Occasion.ROLLED_BACK)
    found = next((one for one in records if abs(one.at - rollback.record.at) < _SAME), None)
    return found.metrics if found else ()


def _counted_since(rollback: Rollback) -> float | None:
    return min((one.since for one in _last_measured(rollback)), default=None)


def _requests(rollback: Rollback, shield: str) -> Iterator[str]:
    yield from _exposed(rollback.record)
    measured = _last_measured(rollback)
    most = max((one.requests for one in measured), default=0)
    if not most:
        yield "How many requests the version got was not measured."
        return
    yield f"The version was asked {count(most)} times before it was left."
    for one in measured:
        if one.unit == "share" and one.requests:
            bad = round(one.value * one.requests)
            yield f"{one.name}: {count(bad)} of {count(one.requests)} requests were bad ({in_words(one)})."
    if shield == "Failures":
        yield (
            "The router's shield was on: stable answered what the version failed, as far as a request could be sent "
            "again."
        )
    elif shield:
        yield f"The router's shield was at {shield}, so clients saw failures of the version."


def _exposed(record: RollbackRecord) -> Iterator[str]:
    """What clients got of it. The router knows requests, and nobody who sent them."""
    clients = record.clients
    if clients is None:
        yield "How many requests of clients were exposed to the version, failed or were shielded is not known."
    else:
        span = f"From {rfc3339_whole(clients.since)} to {rfc3339_whole(clients.until)}"
        yield (
            f"{span} the router chose the version for {count(clients.exposed)} requests of clients: "
            f"{count(clients.failed)} failed for them, and stable answered {count(clients.shielded)} in its place."
        )
        if record.since is not None and record.since < clients.since - _SAME:
            yield f"Not counted is what was before, since {rfc3339_whole(record.since)}."
    yield "How many users that were is not known: the router counts requests, not users."


def _timeline(rollback: Rollback, notes: Sequence[Note]) -> Section:
    source, record = rollback.source, rollback.record
    moments = [
        (source.created, "", f"{source.name} was made from the spec"),
        (_counted_since(rollback), "", "requests are counted from here on"),
        (record.first_bad, "", f"the first bad request is counted ({record.metric})"),
        (record.restored, "", "all of the router sends everything to the version that it went back to"),
    ]
    told = [one for one in notes if _begun(rollback) <= one.at <= record.at + _AFTER]
    rows = [(at, reason, words) for at, reason, words in moments if at is not None]
    rows += [(one.at, one.reason, one.message) for one in told[-_MOST_NOTES:]]
    if not any(one.reason == record.reason and abs(one.at - record.at) < _SAME for one in told):
        rows.append((record.at, record.reason, record.message))
    rows.sort(key=lambda one: one[0])
    return Section(
        "Timeline",
        () if told else (_NO_EVENTS,),
        ("time", "since the decision", "reason", "what"),
        tuple((rfc3339_whole(at), since(at - record.at), reason or NONE, words) for at, reason, words in rows),
    )


def _begun(rollback: Rollback) -> float:
    """When its story begins (unix seconds): a moment before the version came up."""
    return min(rollback.source.created, rollback.record.at) - _BEFORE


def _metrics(rollback: Rollback) -> Section:
    """What each metric said at the end; those that did not see it, and why."""
    rows = [_text(one) for one in rollback.source.metrics]
    asked = bool(rollback.record.metric)  # else no metric has decided, and none has overlooked anything
    passed = [row for row in rows if asked and row["verdict"] not in {verdict.value for verdict in FAILURES}]
    sentences = [f"{row['name']} did not see it: {row['message'] or row['reason']}." for row in passed]
    columns = ("metric", "severity", "verdict", "estimate", "interval", "requests", "why")
    keys = ("name", "severity", "verdict", "estimate", "interval", "requests", "message")
    cells = [tuple(row[key] or NONE for key in keys) for row in rows]
    decided = [
        read_metric(row) for row in rollback.source.metrics if asked and row.get("name") == rollback.record.metric
    ]
    plots = [one for one in decided if has_plot(one)]
    return Section("What the metrics said", sentences, columns, cells, plots)


def _text(row: JsonObject) -> dict[str, str]:
    keys = ("name", "severity", "verdict", "estimate", "interval", "requests", "message", "reason")
    return {key: str(row.get(key, "")) for key in keys}


def _diff(rollback: Rollback) -> Section:
    """In which fields the version differs from the one that serves since, by dimension."""
    if rollback.target is None:
        return Section("What was different", ("The version that it went back to is not known any more.",))
    found = differences.differences(rollback.target, rollback.source)
    changed = ", ".join(one for one in names.DIMENSIONS if any(each.dimension == one for each in found))
    return Section(
        "What was different",
        (f"Changed: {changed}." if changed else "The two have the same content.",),
        ("dimension", "field", rollback.target.name, rollback.source.name),
        tuple((one.dimension, one.path, *one.values) for one in found),
    )


def _measured(rollback: Rollback) -> Section:
    table = differences.metrics(rollback.target, rollback.source) if rollback.target else None
    return Section("What was measured", (), *_plain(table)) if table else Section("What was measured")


def _plain(table: Table) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    return table.columns, tuple(tuple(cell.text for cell in row) for row in table.rows)
