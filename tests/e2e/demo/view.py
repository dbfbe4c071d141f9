"""Shows a rollout as `serin status --watch` does, with the command line's own words, until it is over.

At a terminal the whole status is drawn in place below the lines that tell what has changed; elsewhere there are only
the lines, and once the whole status, when its numbers have begun to mean something.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from serin.cli import show
from serin.cli.connection import Connection
from serin.cli.look import look
from serin.cli.output import console, put
from serin.cluster.protocol import Retryable
from serin.explain.facts import Facts
from serin.explain.sentences import headline

POLL_SECONDS = 0.5
ENOUGH = 20
"""Requests of each metric before its numbers are worth showing."""
INDENT = 9


class TookTooLong(Exception):
    """The rollout was not over in time; the text says what it last waited for."""


def follow(
    connection: Connection,
    name: str,
    over: Callable[[Facts], bool],
    client: Callable[[], str],
    *,
    seconds: float,
    whole: bool = False,
) -> Facts:
    """Show the deployment until it is `over`; `client` says what the client sees meanwhile.

    `whole`: where there is no terminal, print the whole status once.

    Raises:
        TookTooLong: after so many `seconds`.
    """
    screen = console()
    begun, said, shown = time.monotonic(), "", not whole
    live = Live(console=screen, auto_refresh=False, transient=True)
    with live if screen.is_terminal else nullcontext():
        while True:
            passed = time.monotonic() - begun
            facts = _look(connection, name)
            if facts and facts.observed:
                if (news := headline(facts) + (f" ({facts.reason})" if facts.reason else "")) != said:
                    screen.print(f"  {passed:3.0f} s  {news}", soft_wrap=True)
                    said = news
                if screen.is_terminal:
                    live.update(_drawn(facts, client()), refresh=True)
                elif not shown and _telling(facts):
                    put(_drawn(facts, client()))
                    shown = True
                if over(facts):
                    return facts
            if passed > seconds:
                raise TookTooLong(f"after {seconds:.0f} s it is still so: {said}; {facts.message if facts else ''}")
            time.sleep(POLL_SECONDS)


def _drawn(facts: Facts, client: str) -> Padding:
    """Below the lines, indented like what they say."""
    return Padding(Group(show.status(facts), Text(f"\n{client}")), (1, 0, 1, INDENT))


def _look(connection: Connection, name: str) -> Facts | None:
    """The deployment, or None while the API server does not answer."""
    try:
        return look(connection, name)
    except Retryable:
        return None


def _telling(facts: Facts) -> bool:
    """Whether every metric has counted enough to look at."""
    return bool(facts.weight and facts.metrics) and all(one.requests >= ENOUGH for one in facts.metrics)
