"""Tables and sentences on a terminal: lays out and colours what `serin.explain` says, and says nothing of its own."""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from serin.api.snapshots import Snapshot
from serin.cli.output import table
from serin.explain import differences, plot, retraining, tables
from serin.explain.facts import Facts
from serin.explain.tables import Cell, Row, Table, Tone

_STYLE: Final = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.FAINT: "dim",
    Tone.GOOD: "green",
    Tone.BUSY: "cyan",
    Tone.UNSURE: "yellow",
    Tone.BAD: "red",
    Tone.WORST: "bold red",
}


def status(facts: Facts, *, plots: bool = False) -> RenderableType:
    """The whole view of one deployment: what happens, why, who serves, how far, and on what numbers.

    `plots`: also how each metric's evidence has come about.
    """
    view = tables.status(facts)
    parts: list[RenderableType] = [Text(view.headline.text, style=f"bold {_STYLE[view.headline.tone]}")]
    if view.waiting:
        parts.append(Text(view.waiting))
    if view.versions:
        parts += [Text(""), _table(view.versions)]
    if view.stages:
        parts += [Text(""), _line("steps  ", view.stages)]
    if view.metrics:
        parts += [Text(""), _table(view.metrics)]
    for one in view.plots if plots else ():
        parts += [Text(""), Text(plot.caption(one)), *map(Text, plot.text(one))]
    if view.retraining:
        parts += [Text(""), Text(view.retraining)]
    if view.notifications:
        parts += [Text(""), Text(view.notifications)]
    return Group(*parts)


def listing(all_facts: Sequence[Facts], *, namespaces: bool) -> RenderableType:
    """One row per deployment."""
    return _table(tables.listing(all_facts, namespaces=namespaces))


def history(facts: Facts, snapshots: Sequence[Snapshot]) -> RenderableType:
    """One row per snapshot, newest first; then the newest retraining."""
    parts: list[RenderableType] = [_table(tables.history(facts, snapshots))]
    if told := retraining.line(facts):
        parts += [Text(""), Text(told)]
    return Group(*parts)


def diff(one: Snapshot, other: Snapshot, now: float) -> RenderableType:
    """Two versions side by side: fields that differ, and what was measured of each. `now`: unix seconds."""
    parts: list[RenderableType] = [Text(differences.headline(one, other), style="bold"), Text("")]
    parts.append(_table(differences.content(one, other, now)))
    if measured := differences.metrics(one, other):
        parts += [Text(""), _table(measured)]
    if distributed := differences.histograms(one, other):
        parts += [Text(""), _table(distributed)]
    return Group(*parts)


def paragraphs(sentences: Sequence[str]) -> RenderableType:
    """Sentences below each other; the first stands out, commands and reasons follow indented."""
    first, *rest = sentences
    return Group(Text(first, style="bold"), *(Padding(Text(one), (0, 0, 0, 2)) for one in rest))


def _table(what: Table) -> RenderableType:
    made = table(*what.columns)
    for row in what.rows:
        made.add_row(*map(_text, row))
    return made


def _line(title: str, cells: Row) -> RenderableType:
    line = Text(title)
    for number, cell in enumerate(cells):
        line.append("  →  " if number else "", style="dim")
        line.append(cell.text, style=_STYLE[cell.tone])
    return line


def _text(cell: Cell) -> Text:
    return Text(cell.text, style=_STYLE[cell.tone])
