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

from serin.api import names
from serin.api.json import JsonObject
from serin.api.text import printable
from serin.api.times import human
from serin.cli import show
from serin.cli.connection import Connection, explained
from serin.cli.exit_codes import Exit
from serin.cli.output import console
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError, Kind, Refused, Retryable
from serin.explain.facts import Facts, gather
from serin.explain.sentences import headline, waiting
from serin.workload.events import newest_warnings
from serin.workload.pods import is_ready, workload

_POLL_SECONDS = 1.0
_MOST_EVENTS = 500


def look(connection: Connection, name: str) -> Facts:
    """Read a deployment with its workloads and pods, as far as the user may. Raises Stop and Retryable."""
    namespace = connection.namespace
    try:
        body = connection.get(kinds.MODEL_DEPLOYMENT, namespace, name)
        deployments, pods = (_of(connection, kind, name) for kind in (kinds.DEPLOYMENT, kinds.POD))
    except Retryable:
        raise
    except ClusterError as error:
        raise explained(error, f"ModelDeployment {name} in namespace {namespace}") from error
    hanging = any(not is_ready(pod) for pod in pods)
    events = newest_warnings(_events(connection)) if hanging else {}
    workloads = (workload(one, pods, events=events) for one in deployments)
    return gather(
        body, connection.now(), {one.snapshot: told for one in workloads if (told := one.problem or one.waits)}
    )


def _events(connection: Connection) -> list[JsonObject]:
    """Warnings about the namespace's pods, as far as the user may read them."""
    path = kinds.collection_path(kinds.EVENT, connection.namespace)
    query = {"fieldSelector": "type=Warning,regarding.kind=Pod", "limit": str(_MOST_EVENTS)}
    try:
        return list(connection.read(path, query).get("items") or ())
    except Refused:
        return []


def _of(connection: Connection, kind: Kind, name: str) -> list[JsonObject]:
    """Objects of a deployment; none when the user may not list them: they only add to what the status says."""
    try:
        return list(connection.list(kind, connection.namespace, f"{names.LABEL_MODEL_DEPLOYMENT}={name}"))
    except Refused:
        return []


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
