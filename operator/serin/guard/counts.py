"""Counters of what models answer, as Prometheus scrapes them.

They are this process's own: a sum over all of them is the number of answers recorded, and one that restarts begins at
nothing, which Prometheus' readers know. All counters of a field appear together, with zero where nothing was counted,
so no label seems to appear before another.

The number of series is bounded: by the spec for one version, and here for a namespace and for all. What has no room is
not recorded, so nobody's counters give way to another's, and there is always some room for one that comes later. A
version that nobody has answered with for an hour is forgotten.

Settings change one router after the other, and one that hears of nothing keeps the old ones. So a version is counted by
one settings at a time, and what it had before is left out for as long as the new ones are in use. A field that is
counted otherwise begins anew, and is not shown for a while: every Prometheus then sees that its series were gone, and
takes what they show later for counted from 0 (serin.metrics.counting).
"""

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serin.api.guard_record import OTHER, Recorded, Recording
from serin.guard.shares import has_room

MOST_SERIES: Final = 50_000
# The part of them that one namespace may have at most.
_SHARE: Final = 4
# Of whose answers it is told by name how many there were.
MOST_NAMESPACES: Final = 1_000
IDLE_SECONDS: Final = 3600.0
# After which former settings may come back, and a field that began anew is shown: some scrapes.
SETTLED_SECONDS: Final = 60.0
_FORMER: Final = 4
_NAMESPACE: Final = "serin_namespace"
_OWNER: Final = (_NAMESPACE, "serin_model_deployment", "serin_snapshot")

_Owner = tuple[str, str, str]  # as _OWNER says
_Predictions = tuple[Recorded, ...]


class _Field:
    """A number for each label or bucket, and for the rest. `since`: when it may be shown."""

    __slots__ = ("counts", "how", "since")

    def __init__(self, how: Recorded, since: float) -> None:
        self.how, self.since = how, since
        self.counts = [0] * (len(how.labels or how.buckets) + 1)


class _Version:
    """Counters of one version. `used`: when the last answer was counted."""

    __slots__ = ("fields", "former", "predictions", "series", "used")

    def __init__(self, predictions: _Predictions) -> None:
        self.fields = {one.name: _Field(one, 0.0) for one in predictions}
        self.predictions = predictions
        self.former = deque[_Predictions](maxlen=_FORMER)
        self.series, self.used = series_of(predictions), 0.0

    def may_change(self, predictions: _Predictions, now: float) -> bool:
        """Whether other settings are newer ones; those of before are a router's that has not heard yet."""
        return predictions not in self.former or now - self.used >= SETTLED_SECONDS

    def change(self, predictions: _Predictions, now: float) -> None:
        """Count these. A field that is counted otherwise than before begins anew."""
        if predictions in self.former:
            self.former.remove(predictions)
        self.former.append(self.predictions)
        kept = {name: one for name, one in self.fields.items() if one.how in predictions}
        self.fields = {one.name: kept.get(one.name) or _Field(one, now + SETTLED_SECONDS) for one in predictions}
        self.predictions, self.series = predictions, series_of(predictions)


class Counts(Collector):
    """All of them. It is read in another thread than it is written in."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._versions: OrderedDict[_Owner, _Version] = OrderedDict()  # the longest idle first
        self._taken = Counter[str]()  # series by namespace
        self._answers: dict[str, list[int]] = {}  # of a namespace: recorded, and not

    def add(self, recording: Recording, snapshot: str, found: tuple[Counter[int], ...]) -> None:
        """One answer of a version."""
        with self._lock:
            version = self._version((recording.namespace, recording.name, snapshot), recording.predictions)
            self._tell(recording.namespace, recorded=version is not None)
            if version is None:
                return
            for one, counts in zip(recording.predictions, found, strict=True):
                for place, count in counts.items():
                    version.fields[one.name].counts[place] += count

    def left_out(self, namespace: str) -> None:
        """An answer that could not be looked at."""
        with self._lock:
            self._tell(namespace, recorded=False)

    def collect(self) -> Iterator[Metric]:
        """As Prometheus is told."""
        labels = CounterMetricFamily(
            "serin_predictions",
            "Values that were drawn of answers, one of each answer, by label.",
            labels=[*_OWNER, "field", "label"],
        )
        numbers = HistogramMetricFamily(
            "serin_prediction_values", "Numbers that were drawn of answers, one of each.", labels=[*_OWNER, "field"]
        )
        for owner, how, counts in self._copied():
            if how.labels:
                for label, count in zip((*how.labels, OTHER), counts, strict=True):
                    labels.add_metric([*owner, how.name, label], count)
            else:
                bounds = [*map(repr, how.buckets), "+Inf"]
                cumulative = [(bound, float(one)) for bound, one in zip(bounds, accumulate(counts), strict=True)]
                numbers.add_metric([*owner, how.name], cumulative, sum_value=None)
        yield from (labels, numbers, *self._told())

    def _told(self) -> tuple[Metric, Metric]:
        texts = (
            ("serin_recorded_answers", "Answers that were recorded."),
            (
                "serin_unrecorded_answers",
                "Answers that were shown and not recorded: too large, no JSON, or more than there is room for.",
            ),
        )
        recorded, not_recorded = (CounterMetricFamily(name, text, labels=[_NAMESPACE]) for name, text in texts)
        with self._lock:
            answers = {namespace: tuple(counts) for namespace, counts in self._answers.items()}
        for namespace, (yes, no) in answers.items():
            recorded.add_metric([namespace], yes)
            not_recorded.add_metric([namespace], no)
        return recorded, not_recorded

    def _tell(self, namespace: str, *, recorded: bool) -> None:
        name = namespace if namespace in self._answers or len(self._answers) < MOST_NAMESPACES else ""
        self._answers.setdefault(name, [0, 0])[0 if recorded else 1] += 1

    def _copied(self) -> list[tuple[_Owner, Recorded, list[int]]]:
        now = time.monotonic()
        with self._lock:  # shortly: clients wait for who wants to add
            self._forget(now)
            found = [(owner, version.fields) for owner, version in self._versions.items()]
        return [
            (owner, field.how, list(field.counts))
            for owner, fields in found
            for field in fields.values()
            if now >= field.since
        ]

    def _version(self, owner: _Owner, predictions: _Predictions) -> _Version | None:
        now, version = time.monotonic(), self._versions.get(owner)
        if version is None or version.predictions != predictions:
            self._forget(now)
            version = self._versions.get(owner)
            if version is not None and not version.may_change(predictions, now):
                return None
            more = series_of(predictions) - (version.series if version else 0)
            if not self._has_room(owner[0], more):
                return None
            self._taken[owner[0]] += more
            if version is None:
                version = self._versions[owner] = _Version(predictions)
            else:
                version.change(predictions, now)
        version.used = now
        self._versions.move_to_end(owner)
        return version

    def _has_room(self, namespace: str, more: int) -> bool:
        """Whether a namespace then has no more than its share, and no more than what is left for all others."""
        within = self._taken[namespace] + more <= self._most // _SHARE
        return more <= 0 or (within and has_room(self._taken, namespace, more, self._most))

    def _forget(self, now: float) -> None:
        while self._versions and next(iter(self._versions.values())).used < now - IDLE_SECONDS:
            (namespace, _, _), version = self._versions.popitem(last=False)
            self._taken[namespace] -= version.series
            if not self._taken[namespace]:  # or a name stays for every namespace that there ever was
                del self._taken[namespace]


def series_of(predictions: _Predictions) -> int:
    """How many series one version has: a histogram counts itself, too."""
    return sum(len(one.labels) + 1 if one.labels else len(one.buckets) + 2 for one in predictions)
