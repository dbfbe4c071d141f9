"""HTML without holes: whatever is not made here is text, and is escaped.

Names, messages and snapshots are written by anybody who may write a resource, and shown to those who may do more. So
text becomes markup in one place, `tag`, and only an `Html` is put into it as it is.
"""

import html
from collections.abc import Iterable

from serin.api.text import printable
from serin.explain.tables import Cell, Table


class Html(str):
    """Markup that was made by this module, or by a drawing that escapes what it quotes."""

    __slots__ = ()


NOTHING = Html()
_WITHOUT_END = frozenset({"input", "meta", "link", "br"})


def text(value: str) -> Html:
    """Text as markup; control characters are left out."""
    return value if isinstance(value, Html) else Html(html.escape(printable(value)))


def tag(name: str, /, *children: str, **attributes: str | bool | None) -> Html:
    """An element. `class_` is class, `aria_label` is aria-label; True is an attribute without a value, None is none."""
    found = [f" {key.rstrip('_').replace('_', '-')}{_value(value)}" for key, value in attributes.items() if value]
    inside = "".join(map(text, children))
    return Html(f"<{name}{''.join(found)}>" + ("" if name in _WITHOUT_END else f"{inside}</{name}>"))


def _value(value: str | bool | None) -> str:
    return "" if value is True else f'="{text(str(value))}"'


def joined(parts: Iterable[str]) -> Html:
    """One after the other."""
    return Html("".join(map(text, parts)))


def toned(cell: Cell, name: str = "span") -> Html:
    """A cell's text, with how it is meant as its class."""
    return tag(name, cell.text, class_=f"tone-{cell.tone.value}")


def table(what: Table, caption: str = "") -> Html:
    """A table that scrolls sideways where it is wider than the screen."""
    head = tag("tr", *(tag("th", one, scope="col") for one in what.columns))
    rows = (tag("tr", *(toned(cell, "td") for cell in row)) for row in what.rows)
    made = tag("table", tag("caption", caption) if caption else "", tag("thead", head), tag("tbody", *rows))
    return tag("div", made, class_="wide", tabindex="0")
