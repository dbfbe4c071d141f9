"""Facts as tables: `status`, `list` and `history` for people. Lays out and colours, and says nothing of its own."""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from serin.analysis.text import count
from serin.api import names
from serin.api.conditions import ConditionType
from serin.api.json import JsonObject
from serin.api.times import human, parse_rfc3339
from serin.api.verdicts import Verdict
from serin.cli.facts import Facts
from serin.cli.output import table
from serin.cli.sentences import headline, step_text, waiting
from serin.rollout.snapshots import PROMOTED, ROLLED_BACK

_VERDICT_STYLE: Final[dict[str, str]] = {
    Verdict.PASS: "green",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NO_DATA: "yellow",
    Verdict.FAIL_MINOR: "red",
    Verdict.FAIL_CRITICAL: "bold red",
}
_DECIDED_STYLE: Final[dict[str, str]] = {PROMOTED: "green", ROLLED_BACK: "red"}
NONE: Final = "-"
_GOING_BACK: Final = "going back"


def status(facts: Facts) -> RenderableType:
    """The whole view of one deployment: what happens, why, who serves, how far, and on what numbers."""
    parts: list[RenderableType] = [Text(headline(facts), style=f"bold {_mood(facts)}")]
    if why := waiting(facts):
        parts.append(Text(why))
    if facts.state.stable or facts.state.candidate:
        parts += [Text(""), _versions(facts)]
    if facts.state.candidate and facts.steps:
        parts += [Text(""), _steps(facts)]
    if facts.state.candidate and facts.weight and facts.metrics:
        parts += [Text(""), _metrics(facts)]
    return Group(*parts)


def _mood(facts: Facts) -> str:
    if facts.condition(ConditionType.READY).get("status") == "False" and facts.state.stable:
        return "red"
    if facts.rejected or facts.condition(ConditionType.STALLED).get("status") == "True":
        return "yellow"
    return "green" if facts.serves_what_is_wanted else "cyan"


def _versions(facts: Facts) -> RenderableType:
    made = table("", "VERSION", "SNAPSHOT", "REQUESTS", "PODS READY", "CHANGED")
    for part in ("stable", "candidate", "rollingBack"):
        shown = facts.status.get(part)
        if shown and shown.get("snapshot"):
            snapshot = shown["snapshot"]
            pods = f"{shown.get('ready', 0)} of {shown.get('replicas', 0)}"
            measured = (facts.status["traffic"].get("observed") or {}).get(snapshot)
            weight = f"{facts.state.split.of(snapshot)}%{f' ({measured} seen)' if measured else ''}"
            changed = ", ".join(shown.get("changed") or ())
            role = _GOING_BACK if part == "rollingBack" else part
            made.add_row(role, shown.get("model", NONE), snapshot, weight, pods, changed)
    return made


def _steps(facts: Facts) -> RenderableType:
    """One line: what has passed, where it is, what comes."""
    now = facts.state.step.index
    line = Text("steps  ")
    if facts.state.step.forced:
        return line.append("skipped, as a person asked", style="dim").append("  →  ", style="dim").append("▶ promoted")
    for index, step in enumerate(facts.steps):
        style, mark = ("green", "✓ ") if index < now else ("bold", "▶ ") if index == now else ("dim", "")
        line.append(f"{mark}{step_text(step)}", style=style)
        line.append("  →  ", style="dim")
    passed = now >= len(facts.steps)
    line.append("▶ promoted" if passed else "promoted", style="bold" if passed else "dim")
    return line


def _metrics(facts: Facts) -> RenderableType:
    made = table("METRIC", "SEVERITY", "VERDICT", "ESTIMATE", "INTERVAL", "REQUESTS", "WHY")
    for one in facts.metrics:
        made.add_row(
            one["name"],
            one.get("severity", NONE),
            Text(one["verdict"], style=_VERDICT_STYLE.get(one["verdict"], "")),
            one.get("estimate", NONE),
            one.get("interval", NONE),
            count(one.get("requests", 0)),
            f"{one['reason']}: {one['message']}",
        )
    return made


def listing(all_facts: Sequence[Facts], *, namespaces: bool) -> RenderableType:
    """One row per deployment."""
    head = ("NAMESPACE",) if namespaces else ()
    made = table(*head, "NAME", "STABLE", "CANDIDATE", "WEIGHT", "STEP", "VERDICT", "READY", "REASON")
    for facts in all_facts:
        state, step = facts.state, facts.status.get("step") or {}
        verdict = facts.status.get("verdict", NONE) if state.candidate else NONE
        made.add_row(
            *((facts.namespace,) if namespaces else ()),
            facts.name,
            _short(facts, state.stable),
            _short(facts, state.candidate),
            f"{facts.weight}%" if state.candidate else NONE,
            step.get("position", NONE),
            Text(verdict, style=_VERDICT_STYLE.get(verdict, "")),
            facts.condition(ConditionType.READY).get("status", "Unknown"),
            Text(facts.reason or "NotSeenYet", style=_mood(facts)),
        )
    return made


def _short(facts: Facts, snapshot: str | None) -> str:
    return facts.version(snapshot) if snapshot else NONE


def history(facts: Facts, snapshots: Sequence[JsonObject]) -> RenderableType:
    """One row per snapshot, newest first."""
    made = table("SNAPSHOT", "MODEL", "NOW", "VERDICT", "DECIDED", "CHANGED", "AGE", "WHY")
    ordered = newest_first(snapshots)
    for index, one in enumerate(ordered):
        recorded, model = one.get("status") or {}, (one["spec"]["content"].get("model") or {})
        verdict = recorded.get("verdict", NONE)
        decided = recorded.get("rejectedAt") if verdict == ROLLED_BACK else recorded.get("promotedAt")
        why = f"{recorded['reason']}: {recorded['message']}" if verdict == ROLLED_BACK and "reason" in recorded else ""
        made.add_row(
            one["metadata"]["name"],
            model.get("version", NONE),
            _role(facts, one["metadata"]["name"]),
            Text(verdict, style=_DECIDED_STYLE.get(verdict, "")),
            f"{human(facts.now - parse_rfc3339(decided))} ago" if decided else NONE,
            _changed(one, ordered[index + 1] if index + 1 < len(ordered) else None),
            human(facts.now - parse_rfc3339(one["metadata"]["creationTimestamp"])),
            why,
        )
    return made


def newest_first(snapshots: Sequence[JsonObject]) -> list[JsonObject]:
    """By creation, newest first; the name decides within a second."""
    return sorted(
        snapshots, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]), reverse=True
    )


def _role(facts: Facts, snapshot: str) -> str:
    if snapshot == facts.state.stable:
        return names.ROLE_STABLE
    if facts.state.manual_rollback and snapshot == facts.state.manual_rollback.target:
        return _GOING_BACK
    return names.ROLE_CANDIDATE if snapshot == facts.state.candidate else NONE


def _changed(one: JsonObject, before: JsonObject | None) -> str:
    """Dimensions in which a snapshot differs from the one before it."""
    if before is None:
        return NONE
    hashes, earlier = one["spec"]["hashes"], before["spec"]["hashes"]
    return ", ".join(part for part in names.DIMENSIONS if hashes.get(part) != earlier.get(part)) or NONE


def paragraphs(sentences: Sequence[str]) -> RenderableType:
    """Sentences below each other; the first stands out, commands and reasons follow indented."""
    first, *rest = sentences
    return Group(Text(first, style="bold"), *(Padding(Text(one), (0, 0, 0, 2)) for one in rest))
