"""`status --watch` and `status --wait`: the same view again and again, until the user or the outcome ends it.

One small read a second, of the resource and its pods; a connection that is lost is said and waited for. At a terminal
the view is drawn in place; in a pipe one line is printed when something has changed.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from serin.api.text import printable
from serin.api.times import human
from serin.cli import show
from serin.cli.connection import Connection
from serin.cli.exit_codes import Exit
from serin.cli.look import look
from serin.cli.output import console
from serin.cluster.protocol import Retryable
from serin.explain.facts import Facts
from serin.explain.sentences import headline, waiting

_POLL_SECONDS = 1.0


def outcome(facts: Facts) -> Exit | None:
    """How it ended for what the spec describes now; None while it has not."""
    if facts.serves_what_is_wanted:
        return Exit.DONE
    over = facts.rollout is None and (facts.rejected or facts.stalled)
    return Exit.NO if facts.observed and over else None


def follow(
    connection: Connection,
    name: str,
    *,
    until: Callable[[Facts], Exit | None],
    timeout: float | None,
    plot: bool = False,
) -> tuple[Exit, Facts | None]:
    """Show the deployment until `until` names an exit or `timeout` (seconds) is over; returns the last facts too."""
    end = None if timeout is None else time.monotonic() + timeout
    screen = console()
    facts: Facts | None = None
    said = ""
    drawing = Live(console=screen, auto_refresh=False, transient=True, vertical_overflow="visible")
    with drawing if screen.is_terminal else nullcontext():
        while True:
            problem = ""
            try:
                facts = look(connection, name)
            except Retryable as error:
                problem = error.message
            if screen.is_terminal:
                drawing.update(_drawn(facts, problem, plot), refresh=True)
            else:
                said = _tell(facts, problem, said)
            if facts and not problem and (ended := until(facts)) is not None:
                return ended, facts
            if end is not None and time.monotonic() >= end:
                return Exit.TIMED_OUT, facts
            time.sleep(_POLL_SECONDS)


def _drawn(facts: Facts | None, problem: str, plot: bool) -> RenderableType:
    parts: list[RenderableType] = [show.status(facts, plots=plot)] if facts else []
    if problem:
        parts.append(Text(f"{problem}; trying again", style="yellow"))
    return Group(*parts)


def _tell(facts: Facts | None, problem: str, said: str) -> str:
    """Print a line when it is news: the headline and the reason, without the seconds that count down."""
    news = problem or (" ".join(filter(None, (headline(facts), facts.reason and f"({facts.reason})"))) if facts else "")
    if news and news != said:
        print(printable(news), flush=True)
    return news


def ended(exit_code: Exit, facts: Facts | None, name: str, timeout: float | None) -> str:
    """The last line of `--wait`."""
    if facts is None:
        return f"{name}: no answer from the API server"
    words = f"{headline(facts)}. {waiting(facts)}"
    return f"not yet after {human(timeout or 0)}: {words}" if exit_code is Exit.TIMED_OUT else words
