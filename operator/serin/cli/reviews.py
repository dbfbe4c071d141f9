"""Answers that people look at: what `serin review` shows, and how it says what they are.

Everything is read and written with the user's own rights: who may not read ReviewItems of a namespace sees nothing of
them. What is shown was written by clients and models, so nothing of it reaches the terminal but text.
"""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from serin.api import names
from serin.api.json import JsonObject
from serin.api.text import count
from serin.api.times import human, moment
from serin.cli.connection import Connection, explained
from serin.cli.exit_codes import Exit, Stop
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError, Conflict, Gone

_INDENT: Final = "    "


def read(connection: Connection, name: str) -> Sequence[JsonObject]:
    """All items of a deployment, oldest first. Raises Stop."""
    try:
        found = connection.list(kinds.REVIEW_ITEM, connection.namespace, f"{names.LABEL_MODEL_DEPLOYMENT}={name}")
    except ClusterError as error:
        raise explained(error, "ReviewItem") from error
    return sorted(found, key=lambda one: (_made(one), one["metadata"]["name"]))


def waiting(items: Sequence[JsonObject]) -> Sequence[JsonObject]:
    """Those of which nobody has said anything."""
    return [one for one in items if not _said(one)]


def nothing(connection: Connection, name: str) -> str:
    """What there is to say when there are none. Raises Stop."""
    try:
        body = connection.get(kinds.MODEL_DEPLOYMENT, connection.namespace, name)
    except ClusterError as error:
        raise explained(error, f"ModelDeployment {name} in namespace {connection.namespace}") from error
    if not (body["spec"].get("guard") or {}).get("review"):
        return f"nobody looks at answers of {name}: write spec.guard.review"
    return f"no answer of {name} waits for people"


def shown(items: Sequence[JsonObject], now: float) -> RenderableType:
    """The items, one after the other."""
    return Group(*(_item(one, now) for one in items))


def label(
    connection: Connection, name: str, items: Sequence[JsonObject], said: Sequence[tuple[str, str]]
) -> RenderableType:
    """Say what items are, all of which have to be there before anything is said of one. Raises Stop."""
    chosen = [(_find(items, asked, name), verdict) for asked, verdict in said]
    told = []
    for item, verdict in chosen:
        which = item["metadata"]["name"]
        try:
            connection.say(item, verdict)
        except Conflict:
            message = f"{which}: somebody says what it is right now: look at it again with serin review {name}"
            raise Stop(Exit.NO, message) from None
        except Gone:
            raise Stop(Exit.NOT_FOUND, f"{which}: it has given way to a newer one, or has expired") from None
        except ClusterError as error:
            raise explained(error, f"ReviewItem {which}") from error
        told.append(f"{which}: {verdict}")
    return Text("\n".join(told))


def _find(items: Sequence[JsonObject], asked: str, name: str) -> JsonObject:
    """The item of this name, or the only one whose name ends so. Raises Stop."""
    exact = [one for one in items if one["metadata"]["name"] == asked]
    found = exact or [one for one in items if one["metadata"]["name"].endswith(asked)]
    if not found:
        raise Stop(Exit.NOT_FOUND, f"there is no item {asked} of {name} (any more): serin review {name} shows all")
    if len(found) > 1:
        raise Stop(Exit.NO, f"{len(found)} items of {name} end with {asked}: write more of the name")
    item = found[0]
    if counted := _labels(item).get(names.LABEL_COUNTED):
        raise Stop(Exit.NO, f"{item['metadata']['name']}: {_state(item)} ({counted}): an item counts once")
    return item


def _item(item: JsonObject, now: float) -> Text:
    spec, metadata = item["spec"], item["metadata"]
    text = Text(metadata["name"], style="bold")
    sure = f", confidence {spec['confidence']}" if "confidence" in spec else ""
    text.append(f"  {human(now - _made(item))} ago by {spec['snapshot']}{sure}: {_state(item)}\n", style="not bold")
    if left_out := spec.get("leftOut"):
        text.append(f"{_INDENT}{count(left_out)} before it were left out\n", style="not bold")
    if "webhook" in spec:
        text.append(f"{_INDENT}what it is has webhook {spec['webhook']}\n", style="not bold")
    rows = [(f"{one['of'].lower()} {one['path']}", one.get("value")) for one in spec.get("fields") or ()]
    width = max((len(where) for where, _ in rows), default=0)
    for where, value in rows:
        shown = "not there, or too long to be kept" if value is None else value
        text.append(f"{_INDENT}{where:<{width}}  {shown}\n", style="not bold")
    return text


def _state(item: JsonObject) -> str:
    said, counted = _said(item), _labels(item).get(names.LABEL_COUNTED, "")
    if not said:
        return "waits"
    return f"{said}, not counted yet" if counted in ("", "begun") else f"{said}, {_COUNTED.get(counted, 'counted')}"


_COUNTED: Final = {
    "unknown": "perhaps not counted",
    "unknown-version": "not counted, as its version has gone",
    "no-verdict": "not counted, as that is neither right nor wrong",
}


def _labels(item: JsonObject) -> JsonObject:
    return item["metadata"].get("labels") or {}


def _said(item: JsonObject) -> str:
    return str(_labels(item).get(names.LABEL_REVIEWED, ""))


def _made(item: JsonObject) -> float:
    return moment(item["metadata"].get("creationTimestamp")) or 0.0
