"""What each page shows, as parts that are renewed one by one. What is said of a deployment, `serin.explain` says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from serin.api.json import JsonObject
from serin.api.kill_switch import KillSwitch
from serin.api.snapshots import Snapshot
from serin.api.state import MetricStatus
from serin.api.text import count
from serin.cli.actions import ACTIONS, refuse_rollback
from serin.cli.dashboard.markup import NOTHING, Html, joined, table, tag, toned
from serin.explain import differences, plot, sentences, tables
from serin.explain.document import Document
from serin.explain.facts import Facts
from serin.explain.snapshots import newest_first
from serin.explain.tables import Cell, Table, Tone

_CALLED = {"rollback": "roll back", "kill-switch": "kill switch of"}
_COLOURS = 6  # of versions in the picture of the traffic; the style sheet has as many


@dataclass(frozen=True, slots=True)
class View:
    """A page's title, and its parts by their id. `whole`: all of it; an element of each id is in it."""

    title: str
    parts: Mapping[str, Html]
    whole: Html


def address(root: str, namespace: str, name: str = "") -> str:
    """The path of a namespace's list, or of a deployment. `root`: the path of all pages, without a slash at its end."""
    return f"{root}/in/{quote(namespace, safe='')}" + (f"/{quote(name, safe='')}" if name else "")


# ── Many deployments ──────────────────────────────────────────────────────────────────────────────────────────────────


def listing(root: str, where: str | None, all_facts: Sequence[Facts]) -> View:
    """The list. `where`: the namespace, None: all of them."""
    found = tables.listing(all_facts, namespaces=True)
    parts = {_row_id(one): _row(root, one, row) for one, row in zip(all_facts, found.rows, strict=True)}
    parts["summary"] = tag("p", _summary(all_facts))
    rows = (tag("tr", inside, id=key) for key, inside in parts.items() if key != "summary")
    head = tag("tr", *(tag("th", one, scope="col") for one in found.columns))
    body = tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="wide", tabindex="0")
    title = f"Model deployments of {f'namespace {where}' if where else 'all namespaces'}"
    return View(title, parts, joined((tag("div", parts["summary"], id="summary"), body if all_facts else "")))


def _row_id(facts: Facts) -> str:
    return f"row.{facts.namespace}.{facts.name}"


def _row(root: str, facts: Facts, row: tables.Row) -> Html:
    namespace, name, *others = row
    href = address(root, facts.namespace, facts.name)
    first = tag("th", tag("a", name.text, href=href, id=f"a.{facts.namespace}.{facts.name}"), scope="row")
    return joined((toned(namespace, "td"), first, *(toned(cell, "td") for cell in others)))


def _summary(all_facts: Sequence[Facts]) -> str:
    if not all_facts:
        return "There is no ModelDeployment here yet."
    under_way = sum(bool(one.rollout or one.state.manual_rollback) for one in all_facts)
    stuck = sum(one.stalled or one.ready.holds is False for one in all_facts)
    return f"{count(len(all_facts))} deployments; {count(under_way)} under way; {count(stuck)} need somebody"


def namespaces(root: str, found: Sequence[str]) -> View:
    """Where somebody may look who may not look everywhere."""
    links = (tag("li", tag("a", one, href=address(root, one))) for one in found)
    where = tag("ul", *links) if found else NOTHING
    words = (
        "You may not list the model deployments of all namespaces together "
        "(that is the verb list on modeldeployments.serin.dev in the whole cluster)."
    )
    hint = "Choose one of these, or write" if found else "Write"
    return View(
        "Namespaces", {}, joined((tag("p", words), tag("p", f"{hint} a namespace into the field above."), where))
    )


# ── One deployment ────────────────────────────────────────────────────────────────────────────────────────────────────


def deployment(root: str, facts: Facts, snapshots: Sequence[Snapshot]) -> View:
    """Everything about one deployment."""
    view = tables.status(facts)
    parts = {
        "now": joined((toned(view.headline, "p"), tag("p", view.waiting))),
        "actions": _actions(root, facts, snapshots),
        "traffic": _traffic(facts, view.versions),
        "steps": _steps(view.stages),
        "evidence": _evidence(facts.metrics if view.metrics else ()),
        "arms": _arms(facts),
        "why": _why(facts),
        "conditions": _conditions(facts),
        "history": _history(root, facts, snapshots),
    }
    titles = {"now": "", "actions": "", "why": "Why", "arms": "Arms", "history": "History", "conditions": "Conditions"}
    sections = (
        tag("section", inside, id=key, aria_label=titles.get(key) or key.capitalize()) for key, inside in parts.items()
    )
    return View(f"{facts.name} in {facts.namespace}", parts, joined(sections))


def called(verb: str) -> str:
    """A verb of the command line as people say it, before the deployment's name."""
    return _CALLED.get(verb, verb)


def _titled(title: str, *inside: str) -> Html:
    return joined((tag("h2", title), *inside))


def _actions(root: str, facts: Facts, snapshots: Sequence[Snapshot]) -> Html:
    verbs = [one.verb for one in ACTIONS if one.refuse(facts) is None]
    if refuse_rollback(facts, {one.name: one for one in snapshots}) is None:
        verbs.append("rollback")
    verbs.append("kill-switch")
    here = address(root, facts.namespace, facts.name)
    links = (
        tag(
            "a",
            f"{called(verb).removesuffix(' of').capitalize()}…",
            href=f"{here}/ask/{verb}",
            class_=f"button {verb}",
            id=f"do.{verb}",
        )
        for verb in verbs
    )
    return tag("nav", *links, aria_label="Actions")


def _traffic(facts: Facts, versions: Table | None) -> Html:
    if versions is None:
        return Html("")
    drawn, left, roles = [], 0, tables.roles(facts)
    nobody = facts.state.kill_switch is KillSwitch.ALL
    for index, snapshot in enumerate(roles):
        share = 0 if nobody else facts.state.split.of(snapshot)
        if share:
            drawn.append(tag("rect", x=str(left), width=str(share), height="10", y="0", class_=_colour(index)))
            left += share
    told = "; ".join(f"{facts.version(one)}: {facts.state.split.of(one)}%" for one in roles)
    picture = tag(
        "svg",
        *drawn,
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="traffic",
        role="img",
        aria_label="No version answers" if nobody else f"Requests: {told}",
    )
    rows = [(Cell("■"), *row) for row in versions.rows]
    made = table(Table(("", *versions.columns), tuple(rows)))
    for index in range(len(rows)):  # the colour of each version beside its row
        made = Html(made.replace('<td class="tone-plain">■</td>', f'<td class="{_colour(index)}">■</td>', 1))
    return _titled("Traffic", picture, made)


def _colour(index: int) -> str:
    return f"c{index % _COLOURS}"


def _steps(stages: tables.Row) -> Html:
    if not stages:
        return Html("")
    present = next((index for index, one in enumerate(stages) if one.text.startswith("▶")), -1)
    items = (
        tag("li", one.text, class_=f"tone-{one.tone.value}", aria_current="step" if index == present else None)
        for index, one in enumerate(stages)
    )
    return _titled("Steps", tag("ol", *items))


def _evidence(metrics: Sequence[MetricStatus]) -> Html:
    return _titled("Evidence", tag("div", *map(_metric, metrics), class_="cards")) if metrics else Html("")


def _metric(one: MetricStatus) -> Html:
    verdict = toned(tables.verdict(one.verdict))
    head = tag("h3", one.name, " ", tag("small", one.severity), " ", verdict)
    drawn = Html(plot.svg(one)) if plot.has_plot(one) else ""
    numbers = tag("p", tag("b", one.estimate or "no estimate"), f" {one.interval}")
    asked = count(one.requests) + " requests"
    gathered = tag("p", f"{asked}, about {count(one.needed)} more needed" if one.needed else asked)
    bar = ""
    if one.needed:
        whole = str(one.requests + one.needed)
        bar = tag("progress", value=str(one.requests) or "0", max=whole, aria_label=f"Requests for {one.name}")
    lines = plot.lines(one)
    words = tag("p", "; ".join(lines), class_="lines") if lines else ""
    return tag("article", head, numbers, drawn, words, gathered, bar, tag("p", f"{one.reason}: {one.message}"))


def _arms(facts: Facts) -> Html:
    arms = facts.rollout.arms if facts.rollout else ()
    if len(arms) < 2:
        return Html("")
    rows = tuple(
        tables.plain(facts.version(one.snapshot), one.standing.value, f"{facts.state.split.of(one.snapshot)}%")
        + tables.plain(f"{one.reason}: {one.message}" if one.reason else "")
        for one in arms
    )
    return _titled("Arms", table(Table(("VERSION", "STANDING", "REQUESTS", "WHY"), rows)))


def _why(facts: Facts) -> Html:
    _, *others = sentences.explain(facts)
    paragraphs = (tag("pre", one) if "\n" in one else tag("p", one) for one in others)
    return _titled("Why", *paragraphs) if others else Html("")


def _conditions(facts: Facts) -> Html:
    rows = tuple(
        tables.plain(*(str(one.get(key, "")) for key in ("type", "status"))) + _said(one) for one in _known(facts)
    )
    made = table(Table(("CONDITION", "STATUS", "REASON", "MESSAGE"), rows))
    return tag("details", tag("summary", "Conditions"), made) if rows else Html("")


def _known(facts: Facts) -> Sequence[JsonObject]:
    return facts.status.conditions


def _said(one: JsonObject) -> tables.Row:
    return tables.plain(*(str(one.get(key, "")) for key in ("reason", "message")))


def _history(root: str, facts: Facts, snapshots: Sequence[Snapshot]) -> Html:
    if not snapshots:
        return Html("")
    ordered, here = newest_first(snapshots), address(root, facts.namespace, facts.name)
    told = tables.history(facts, ordered)
    before = [*ordered[1:], None]
    rows = []
    for one, earlier, row in zip(ordered, before, told.rows, strict=True):
        links = []
        if earlier:
            href = f"{here}/diff/{quote(earlier.name, safe='')}/{quote(one.name, safe='')}"
            links.append(
                tag("a", "diff", href=href, id=f"diff.{one.name}", aria_label=f"Changes that {one.name} brought")
            )
        if one.rolled_back is not None:
            href = f"{here}/report/{quote(one.name, safe='')}"
            links.append(tag("a", "report", href=href, id=f"report.{one.name}", aria_label=f"Report of {one.name}"))
        cells = (toned(cell, "td") for cell in row)
        rows.append(tag("tr", tag("td", *(joined((one, " ")) for one in links)), *cells))
    head = tag("tr", tag("th", "", scope="col"), *(tag("th", one, scope="col") for one in told.columns))
    made = tag("table", tag("thead", head), tag("tbody", *rows))
    return _titled("History", tag("div", made, class_="wide", tabindex="0"))


# ── Two versions, a rollback ──────────────────────────────────────────────────────────────────────────────────────────


def diff(one: Snapshot, other: Snapshot, now: float) -> View:
    """Two versions side by side. `now`: unix seconds."""
    found = (differences.content(one, other, now), differences.metrics(one, other), differences.histograms(one, other))
    return View(differences.headline(one, other), {}, joined(table(each) for each in found if each))


def report(page: Document) -> View:
    """A report of a rollback."""
    parts: list[Html] = []
    for section in page.sections:
        parts.append(tag("h2", section.title))
        parts += [tag("p", one) for one in section.sentences]
        parts += [tag("figure", Html(plot.svg(row)), tag("figcaption", plot.caption(row))) for row in section.plots]
        if section.rows:
            rows = tuple(tables.plain(*cells) for cells in section.rows)
            parts.append(table(Table(tuple(section.columns), rows)))
    return View(page.title, {}, joined(parts))


# ── Questions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def question(root: str, facts: Facts, verb: str, help_text: str, fields: Html, stamp: str) -> View:
    """Asks whether a verb is meant. `fields`: what has to be chosen. `stamp`: what the answer is about."""
    here = address(root, facts.namespace, facts.name)
    form = tag(
        "form",
        fields,
        tag("input", type="hidden", name="stamp", value=stamp),
        tag(
            "button",
            f"Yes, {called(verb)} {facts.name}",
            type="submit",
            class_=f"button {verb}",
            id="yes",
            autofocus=not fields,
        ),
        " ",
        tag("a", "Leave it as it is", href=here, class_="button", id="no"),
        method="post",
        action=f"{here}/do/{verb}",
    )
    now = toned(Cell(sentences.headline(facts), Tone.STRONG), "p")
    return View(f"{called(verb).capitalize()} {facts.name}?", {}, joined((now, tag("p", help_text), form)))


def choice(name: str, options: Sequence[tuple[str, str]], chosen: str) -> Html:
    """One of several: values and what they mean."""
    made = (
        tag("label", tag("input", type="radio", name=name, value=value, checked=value == chosen), " ", words)
        for value, words in options
    )
    return tag("fieldset", *made)
