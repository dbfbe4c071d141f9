"""Where output goes: colours for people at a terminal, plain lines for pipes, JSON and YAML for programs.

Nothing is wrapped or cut in a pipe, and NO_COLOR is honoured (https://no-color.org). Messages to the user go to
standard error, so that what a script reads is never mixed with them. What is printed quotes pods and other users: their
control characters do not reach the terminal.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any, Final

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from serin.api.text import printable
from serin.explain.tables import WHY

_UNBOUNDED: Final = 10_000  # columns of a pipe: whoever reads it does the wrapping


class _Screen(Console):
    """A console whose only control characters are its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is to be printed."""
        for one in super().render(renderable, options):
            yield one if one.control else Segment(printable(one.text), one.style)


def console(*, error: bool = False) -> Console:
    """The console to print to: as wide as the terminal, or unbounded where there is none."""
    plain: Any = {"stderr": error, "highlight": False, "emoji": False, "markup": False}
    if os.environ.get("NO_COLOR"):
        plain["color_system"] = None  # no bold either: whoever sets it wants plain text
    made = _Screen(**plain)
    return made if made.is_terminal else _Screen(**plain, width=_UNBOUNDED)


def put(renderable: RenderableType) -> None:
    """Print; in a pipe without the blanks that tables and paragraphs end with."""
    screen = console()
    if screen.is_terminal:
        screen.print(renderable)
        return
    with screen.capture() as captured:
        screen.print(renderable)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def say(message: str) -> None:
    """Tell the user something that is not the answer itself."""
    console(error=True).print(message, soft_wrap=True)


def dump(value: Any, form: str) -> None:
    """Print as `json` or `yaml`."""
    if form == "json":
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    import yaml

    yaml.safe_dump(value, sys.stdout, sort_keys=False, allow_unicode=True, width=120)


def table(*columns: str) -> Table:
    """A table as kubectl prints them: headers, no lines."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for name in columns:
        made.add_column(name, overflow="fold", no_wrap=name != WHY)
    return made
