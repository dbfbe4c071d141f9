"""The web page's markup: what anybody has written is text, wherever it stands."""

import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st

from serin.cli.dashboard.markup import Html, joined, table, tag, text
from serin.explain.tables import Table, plain

EVIL = st.text(alphabet="<>&\"'=/ `aonclik\x00\x1b", max_size=40)


@given(EVIL, EVIL)
def test_no_text_becomes_markup(one: str, other: str) -> None:
    made = tag("p", one, tag("b", other, title=one), class_=other)
    read = ElementTree.fromstring(made)
    assert [each.tag for each in read.iter()] == ["p", "b"]
    assert {key for each in read.iter() for key in each.attrib} <= {"class", "title"}
    cells = ElementTree.fromstring(table(Table((one,), (plain(other),)))).iter()
    assert {each.tag for each in cells} == {"div", "table", "thead", "tbody", "tr", "th", "td"}


def test_markup_is_not_escaped_twice_and_text_joined_to_it_is() -> None:
    assert tag("p", tag("b", "1 < 2")) == "<p><b>1 &lt; 2</b></p>"
    assert joined(("<i>", tag("br"))) == "&lt;i&gt;<br>"
    assert text(Html("<hr>")) == "<hr>"
    assert not isinstance(tag("p") + "<script>", Html), "what is put together elsewhere is text again"


def test_attributes() -> None:
    assert tag("input", type="radio", checked=True, hidden=None, autofocus=False, aria_label="a") == (
        '<input type="radio" checked aria-label="a">'
    )
