"""What a page quotes is text in both forms: no user's words become markup."""

from serin.explain.document import Document, Section, markdown, webpage

COMMAND = "\x1b]0;title\x07\x9b2J"
EVIL = "<script>alert(1)</script> | `x` [a](http://b) *b* _c_\n# no heading" + COMMAND


def page() -> Document:
    return Document(EVIL, (Section(EVIL, (EVIL,), (EVIL, "b"), ((EVIL, "2"),)), Section("empty")))


def test_markdown_escapes_what_it_quotes() -> None:
    text = markdown(page())
    assert "<script>" not in text.replace("\\<", "")
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("#")] == [lines[0], lines[2], "## empty"]
    [row] = [line for line in lines if line.endswith("| 2 |")]
    assert row.replace("\\|", "").count("|") == 3


def test_no_command_to_a_terminal_is_left() -> None:
    for text in (markdown(page()), webpage(page())):
        assert [one for one in text if not one.isprintable()] == ["\n"] * text.count("\n")


def test_html_escapes_what_it_quotes_and_loads_nothing() -> None:
    text = webpage(page())
    assert "<script" not in text
    assert text.count("<h2>") == 2
    assert "src=" not in text
    assert "href=" not in text
