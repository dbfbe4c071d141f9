"""What pods and other users have written is printed as text: a terminal takes no commands from it."""

import pytest
from rich.text import Text

from serin.cli.output import console, put, say, table

COMMANDS = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\re"
SHOWN = "a]0;titleb[2Jc31mde"


def test_control_characters_do_not_reach_a_terminal_and_colours_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as at a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    rows = table("WHY")
    rows.add_row(Text(COMMANDS, style="red"))
    put(rows)
    console().print(COMMANDS, soft_wrap=True)
    say(COMMANDS)
    text = "".join(capsys.readouterr())
    assert text.count(SHOWN) == 3
    assert f"\x1b[31m{SHOWN}" in text
    assert not any(one in text for one in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\r"))


def test_nor_do_they_reach_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    put(Text(COMMANDS))
    say(COMMANDS)
    assert capsys.readouterr() == (f"{SHOWN}\n", f"{SHOWN}\n")
