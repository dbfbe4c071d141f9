"""What Kubernetes has said of a version's pods, for the report of its rollback: warnings, and how containers ended.

An Event of a pod says what stands nowhere else (a node without room, a probe that fails), and is gone after an hour. A
container that ran out of memory has no Event: that is in the pod's status, for as long as there is the pod. Both are
told by reason, as all pods of a version come from one template and fail alike.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from serin.api.json import JsonObject
from serin.api.text import count, shortened
from serin.api.times import human, moment, rfc3339_whole
from serin.explain.document import Section

TITLE: Final = "What its pods had to say"
# Seconds. Of what began later, most is the end of pods that are not needed any more.
_AFTER: Final = 30.0
_MOST_REASONS: Final = 20
_LONGEST_MESSAGE: Final = 400
_LONGEST_REASON: Final = 128  # of the API
_LONGEST_POD: Final = 253
# Of a pod's name, which ends in five random characters.
_LONGEST_NAME: Final = 63
_KEPT_OF_NAME: Final = 58
_NOTHING: Final = "No warnings about its pods are known; Kubernetes keeps Events for an hour."
_CUT: Final = "The namespace has more Events than were looked through, so some may be missing here."


@dataclass(frozen=True, slots=True)
class Warned:
    """One thing that was said of a pod. `first`, `last`: unix seconds; `times`: how often, as far as it was counted."""

    pod: str
    reason: str
    message: str
    first: float
    last: float
    times: int = 1


@dataclass(frozen=True, slots=True)
class Pods:
    """What is known of a namespace's pods. `unread`: why Events are not; `cut`: there are more than were read."""

    warned: Sequence[Warned] = ()
    unread: str = ""
    cut: bool = False


def warnings_in(events: Iterable[JsonObject]) -> list[Warned]:
    """The warnings about pods among Events of events.k8s.io/v1; those without a readable time are left out."""
    found = []
    for event in events:
        regarding = event.get("regarding") or {}
        first = moment(event.get("eventTime")) or moment(event.get("deprecatedFirstTimestamp"))
        if event.get("type") != "Warning" or regarding.get("kind") != "Pod" or first is None:
            continue
        series = event.get("series") or {}
        last = moment(series.get("lastObservedTime")) or moment(event.get("deprecatedLastTimestamp")) or first
        times = series.get("count") or event.get("deprecatedCount") or 1
        told = str(event.get("reason", "")), str(event.get("note") or "")
        found.append(_warned(str(regarding.get("name", "")), *told, first, max(first, last), int(times)))
    return found


def _warned(pod: str, reason: str, words: str, first: float, last: float, times: int = 1) -> Warned:
    """What is kept is as long as what is shown: an Event and a container's last words may be far longer."""
    message = shortened(" ".join(words.split()), _LONGEST_MESSAGE)
    return Warned(shortened(pod, _LONGEST_POD), shortened(reason, _LONGEST_REASON), message, first, last, times)


def ends_in(pods: Iterable[JsonObject]) -> list[Warned]:
    """How containers of pods have ended with an error, the last time each: OOMKilled, for example."""
    return [one for pod in pods for one in _ends(pod)]


def _ends(pod: JsonObject) -> Iterator[Warned]:
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        ends = [(container.get(key) or {}).get("terminated") for key in ("state", "lastState")]
        for end in filter(None, ends):
            at, code, words = moment(end.get("finishedAt")), end.get("exitCode"), str(end.get("message") or "").strip()
            if at is not None and code:
                told = f"container {container['name']} exited with code {code}{': ' if words else ''}{words}"
                yield _warned(pod["metadata"]["name"], str(end.get("reason") or "Error"), told, at, at)


def section(snapshot: str, known: Pods, begun: float, decided: float) -> Section:
    """What was said of the pods of one version from `begun` until it was left and a little longer (unix seconds)."""
    told = [one for one in known.warned if _is_of(snapshot, one.pod)]
    told = [one for one in told if one.last >= begun and one.first <= decided + _AFTER]
    rows = sorted(map(_row, _by_reason(told)), key=lambda row: row[0])
    sentences = [f"Events of its pods could not be read: {known.unread}"] if known.unread else []
    sentences += [_CUT] if known.cut else []
    sentences += [_NOTHING] if not rows and not known.unread else []
    columns = ("first", "since the decision", "reason", "times", "pods", "what was said last")
    cells = [(rfc3339_whole(at), since(at - decided), *more) for at, *more in rows[:_MOST_REASONS]]
    return Section(TITLE, sentences, columns, cells)


def _is_of(snapshot: str, pod: str) -> bool:
    """Whether its Deployment names a pod like this: two parts more, of which Kubernetes cuts the first if need be."""
    if len(pod) == _LONGEST_NAME and pod.startswith(f"{snapshot}-"[:_KEPT_OF_NAME]):
        return True
    return re.fullmatch(rf"{re.escape(snapshot)}-[a-z0-9]+-[a-z0-9]+", pod) is not None


def _by_reason(told: Iterable[Warned]) -> Iterator[list[Warned]]:
    for _, group in groupby(sorted(told, key=lambda one: (one.reason, one.last, one.message)), lambda one: one.reason):
        yield list(group)


def _row(same: Sequence[Warned]) -> tuple[float, str, str, str, str]:
    """Warnings of one reason, oldest first."""
    times, pods, newest = sum(one.times for one in same), len({one.pod for one in same}), same[-1]
    first = min(one.first for one in same)
    words = shortened(f"{newest.pod}: {newest.message}", _LONGEST_MESSAGE)
    return first, newest.reason, count(times), count(pods), words


def since(seconds: float) -> str:
    """A time before or after the decision: -10s, +2m."""
    return f"{'-' if seconds < 0 else '+'}{human(abs(seconds))}"
