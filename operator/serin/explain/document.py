"""A page of headings, sentences and tables, and the two forms in which people keep one: Markdown and HTML.

What is in a page comes from resources, so anybody may have written it: in both forms it is text, and never markup or a
command to a terminal.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from serin.api.state import MetricStatus
from serin.api.text import printable
from serin.explain import plot

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #8888;padding:.3rem .6rem;text-align:left;"
    "vertical-align:top}th{background:#8882}pre{white-space:pre-wrap}"
    "figure{margin:1rem 0}.plot{max-width:40rem;width:100%}.plot text{font-size:11px;fill:currentColor}"
    ".plot .interval{fill:#4a90d9;opacity:.25}.plot .estimate{fill:none;stroke:#4a90d9;stroke-width:2}"
    ".plot .now{fill:#4a90d9}.plot .fails{stroke:#d33}.plot .passes{stroke:#3a3;stroke-dasharray:4}"
)
# What Markdown would take for markup. A line can begin with none of the others: it begins with our own words.
_MARKUP: Final = re.compile(r"([\\`*_\[\]<>|#~&])")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with sentences, plots, then a table: `columns`, and `rows` of as many cells. Each may be empty."""

    title: str
    sentences: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    plots: Sequence[MetricStatus] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A page with its title and sections. `link`: where there is more of it, an address of ours; "" for nowhere."""

    title: str
    sections: Sequence[Section]
    link: str = ""


def markdown(page: Document) -> str:
    """The page in GitHub's Markdown."""
    lines = [f"# {_plain(page.title)}", "", *([f"<{page.link}>", ""] if page.link else ())]
    for section in page.sections:
        lines += [f"## {_plain(section.title)}", ""]
        for sentence in section.sentences:
            lines += [_plain(sentence), ""]
        for row in section.plots:
            lines += [_plain(plot.caption(row)), "", "```", *plot.text(row), "```", ""]
        if section.rows:
            lines += [_row(section.columns), "|" + "---|" * len(section.columns), *map(_row, section.rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", " ".join(printable(text).split()))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def webpage(page: Document) -> str:
    """The page in HTML, in one file that loads nothing."""
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{_escaped(page.title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_escaped(page.title)}</h1>",
    ]
    if page.link:
        parts.append(f'<p><a href="{_escaped(page.link)}">{_escaped(page.link)}</a></p>')
    for section in page.sections:
        parts.append(f"<h2>{_escaped(section.title)}</h2>")
        parts += [f"<p>{_escaped(sentence)}</p>" for sentence in section.sentences]
        for row in section.plots:
            parts.append(f"<figure>{plot.svg(row)}<figcaption>{_escaped(plot.caption(row))}</figcaption></figure>")
        if section.rows:
            heads = "".join(f"<th>{_escaped(one)}</th>" for one in section.columns)
            parts.append(f"<table><thead><tr>{heads}</tr></thead><tbody>")
            for cells in section.rows:
                parts.append("<tr>" + "".join(f"<td>{_escaped(one)}</td>" for one in cells) + "</tr>")
            parts.append("</tbody></table>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _escaped(text: str) -> str:
    return html.escape(printable(text))
