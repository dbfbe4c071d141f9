"""A simulated Prometheus: it scrapes at intervals of virtual time, and answers the PromQL that Serin sends.

These shapes are known, and everything else raises Unsupported, so that a new query is never answered by accident:

- `name{...}`, also with `or` between two of them;
- `name{...}[60s]`, `name{...}[60m:1m]`;
- `last_over_time(name{...}[1h])`; `max_over_time(name{...}[1h])` and `increase(name{...}[1h])`, which drop the name;
- `count_over_time((sum by (...) (name{...}))[1h:180s])`;
- a vector `> 0`, with any number;
- `group`, `sum`, `max`, `min` and `count`, with or without `by (...)`, of any of the above that is a vector.

A window is open at its lower end, as in Prometheus 3. What a target no longer shows is stale at once; a target that
cannot be scraped has `up` 0. It can restart empty, live in another time, be slow, unreachable, or answer in part; two
of them can answer in turn (Twins).
"""

import asyncio
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

import promql_parser
import re2  # type: ignore[import-untyped]

from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.metrics.answers import Answer, Failed, answer_of
from serin.metrics.clock_skew import ClockSkew
from serin.metrics.prometheus import SHARED
from tests.simulation import clock
from tests.simulation.clock import Clock
from tests.simulation.traffic import Labels, Proxy, Series

LOOKBACK: Final = 300.0
_STALE: Final = math.nan  # a sample that says: the series has ended here
_TICK: Final = 0.0005  # samples are told apart by milliseconds
_RETENTION: Final = 3 * 3600.0


class Unsupported(Exception):
    """A query whose shape the simulation does not know."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What is scraped. `scrape`: its series now, None when nobody answers. `labels`: added to every series."""

    job: str
    instance: str
    scrape: Callable[[], Mapping[Series, float] | None]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Prometheus' identity of a target."""
        return self.job, self.instance


def envoy_target(proxy: Proxy, instance: str, is_up: Callable[[], bool] = lambda: True) -> Target:
    """The metrics port of an Envoy."""
    labels = {"namespace": "serin-system", "pod": proxy.envoy.node}
    return Target("kubernetes-pods", instance, lambda: proxy.exposition() if is_up() else None, labels)


@dataclass(slots=True)
class _Samples:
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, at: float, value: float) -> None:
        if not self.times or at > self.times[-1]:  # what comes out of order is dropped, as by Prometheus
            self.times.append(at)
            self.values.append(value)

    def within(self, start: float, end: float) -> list[tuple[float, float]]:
        """Samples later than `start` and not later than `end`, without the markers of staleness."""
        lower, upper = bisect_right(self.times, start + _TICK), bisect_right(self.times, end + _TICK)
        found = zip(self.times[lower:upper], self.values[lower:upper], strict=True)
        return [(at, value) for at, value in found if value is not _STALE]

    def at(self, end: float) -> float | None:
        """The value at a moment: of the newest sample within the lookback, unless it is stale."""
        index = bisect_right(self.times, end + _TICK) - 1
        if index < 0 or self.times[index] <= end - LOOKBACK or self.values[index] is _STALE:
            return None
        return self.values[index]


class Asked(Protocol):
    """What answers queries."""

    async def ask(self, query: str, at: float) -> tuple[int, JsonObject]:
        """Answer an instant query as /api/v1/query does. Raises ConnectionError."""


class Prometheus:
    """One server. `targets`: what there is to scrape now; `interval`: seconds; `clock`: its own."""

    def __init__(
        self,
        targets: Callable[[], Iterable[Target]],
        *,
        interval: float = 5.0,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._targets, self.interval, self._seed = targets, interval, seed
        self.clock = clock or Clock()
        self._series: dict[Labels, _Samples] = {}
        self._remembered: set[Labels] = set()
        self._current: dict[tuple[str, str], set[Labels]] = {}
        self._due: dict[tuple[str, str], float] = {}
        self._names: dict[tuple[Series, tuple[str, str]], Labels] = {}
        self.queries: list[tuple[str, float]] = []
        self.scraped: dict[tuple[str, str], float] = {}  # the loop's time of each target's newest scrape with an answer
        self.unreachable = ""
        self.delay = 0.0
        self.error: tuple[str, str] | None = None
        self.warnings: tuple[str, ...] = ()
        self.withholds: Callable[[Mapping[str, str]], bool] = lambda _labels: False

    # Scraping

    async def run(self) -> None:
        """Scrape until cancelled."""
        while True:
            now = clock.now()
            there = {target.key: target for target in self._targets()}
            for key in self._due.keys() - there.keys():
                del self._due[key]
                self._end(self._current.pop(key, set()))
            for key, target in sorted(there.items()):
                due = self._due.setdefault(key, now + self._phase(key))
                if due <= now:
                    self._scrape(target)
                    self._due[key] = due + self.interval
            following = min([*self._due.values(), now + 1.0])
            await asyncio.sleep(max(0.001, following - clock.now()))

    def restart(self, *, empty: bool = True) -> None:
        """Begin again; `empty`: with a new disk."""
        if empty:
            self._series.clear()
        self._current.clear()
        self._due.clear()

    def _phase(self, key: tuple[str, str]) -> float:
        """Where in the interval a target is scraped: the same for the same seed."""
        digest = sum((index + 1) * ord(one) for index, one in enumerate("/".join(key) + str(self._seed)))
        return self.interval * (digest % 97) / 97.0

    def _now(self) -> float:
        return round(self.clock.time(), 3)

    def _scrape(self, target: Target) -> None:
        at, found = self._now(), target.scrape()
        shown = {self._labels(series, target): value for series, value in (found or {}).items()}
        self._end(self._current.get(target.key, set()) - shown.keys())
        for labels, value in shown.items():
            self._series.setdefault(labels, _Samples()).add(at, value)
        self._current[target.key] = set(shown)
        if found is not None:
            self.scraped[target.key] = clock.now()
        up = self._labels(("up", ()), target)
        self._series.setdefault(up, _Samples()).add(at, float(found is not None))

    def _labels(self, series: Series, target: Target) -> Labels:
        known = self._names.get((series, target.key))
        if known is None:
            known = self._names[series, target.key] = _named(series, target)
        return known

    def remember(self, series: Series, labels: Mapping[str, str], samples: Iterable[tuple[float, float]]) -> None:
        """Samples of weeks ago (unix seconds, and values): what has them stays, however old it is."""
        named = _named(series, Target("remembered", "", lambda: None, labels))
        self._remembered.add(named)
        for at, value in samples:
            self._series.setdefault(named, _Samples()).add(at, value)

    def _end(self, gone: Iterable[Labels]) -> None:
        at = self._now()
        for labels in gone:
            if labels in self._series:
                self._series[labels].add(at, _STALE)
        self._forget(at - _RETENTION)

    def _forget(self, before: float) -> None:
        for labels in [one for one, samples in self._series.items() if samples.times[-1] < before]:
            if labels not in self._remembered:
                del self._series[labels]

    def grown(self, name: str, snapshot: str, since: float, until: float) -> float:
        """How much a snapshot's counters of this name grew between two moments, by the samples; none was reset."""
        found = (
            samples.within(-math.inf, until)
            for labels, samples in self._series.items()
            if ("__name__", name) in labels and ("serin_snapshot", snapshot) in labels
        )
        return sum(
            samples[-1][1] - max((value for at, value in samples if at <= since + _TICK), default=0.0)
            for samples in found
            if samples
        )

    # Answering

    async def ask(self, query: str, at: float) -> tuple[int, JsonObject]:
        """Answer an instant query at `at` (unix seconds) as /api/v1/query does. Raises ConnectionError, Unsupported."""
        self.queries.append((query, at))
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.unreachable:
            raise ConnectionError(self.unreachable)
        if self.error:
            kind, words = self.error
            return 422 if kind == "execution" else 503, {"status": "error", "errorType": kind, "error": words}
        try:
            tree = promql_parser.parse(query)
        except ValueError as error:
            return 400, {"status": "error", "errorType": "bad_data", "error": str(error)}
        body: JsonObject = {"status": "success", "data": self._evaluate(tree, at, query)}
        return 200, body | ({"warnings": list(self.warnings)} if self.warnings else {})

    def _evaluate(self, tree: Any, at: float, query: str) -> JsonObject:
        match tree:
            case promql_parser.MatrixSelector():
                seconds = tree.range.total_seconds()
                found = [
                    (labels, samples.within(at - seconds, at)) for labels, samples in self._select(tree.vector_selector)
                ]
                return _matrix(found)
            case promql_parser.SubqueryExpr() if tree.offset is None and tree.at is None and tree.step is not None:
                return _matrix(self._subquery(tree, at, query))
        vector = self._vector(tree, at, query)
        result = [{"metric": dict(labels), "value": [at, _number(value)]} for labels, value in vector.items()]
        return {"resultType": "vector", "result": result}

    def _subquery(self, tree: Any, at: float, query: str) -> list[tuple[Labels, list[tuple[float, float]]]]:
        step, seconds = tree.step.total_seconds(), tree.range.total_seconds()
        moment = (math.floor((at - seconds) / step) + 1) * step
        found: dict[Labels, list[tuple[float, float]]] = {}
        while moment <= at:
            for labels, value in self._vector(tree.expr, moment, query).items():
                found.setdefault(labels, []).append((moment, value))
            moment += step
        return list(found.items())

    def _vector(self, tree: Any, at: float, query: str) -> dict[Labels, float]:
        match tree:
            case promql_parser.ParenExpr():
                return self._vector(tree.expr, at, query)
            case promql_parser.VectorSelector() if tree.offset is None and tree.at is None:
                values = ((labels, samples.at(at)) for labels, samples in self._select(tree))
                return {labels: value for labels, value in values if value is not None}
            case promql_parser.Call() if tree.func.name == "last_over_time":
                return {labels: values[-1] for labels, values in self._window(tree.args[0], at, query).items()}
            case promql_parser.Call() if tree.func.name == "max_over_time":
                found = self._window(tree.args[0], at, query)
                return {_nameless(labels): max(values) for labels, values in found.items()}
            case promql_parser.Call() if tree.func.name == "increase":
                return self._increase(tree.args[0], at, query)
            case promql_parser.Call() if tree.func.name == "count_over_time":
                if not isinstance(tree.args[0], promql_parser.SubqueryExpr):
                    raise Unsupported(f"count_over_time of {type(tree.args[0]).__name__} in {query}")
                counted = self._subquery(tree.args[0], at, query)
                return {_nameless(labels): float(len(samples)) for labels, samples in counted}
            case promql_parser.BinaryExpr() if str(tree.op) == ">" and isinstance(
                tree.rhs, promql_parser.NumberLiteral
            ):
                found_now = self._vector(tree.lhs, at, query)
                return {labels: value for labels, value in found_now.items() if value > tree.rhs.val}
            case promql_parser.AggregateExpr() if tree.param is None:
                return self._aggregate(tree, at, query)
            case promql_parser.BinaryExpr() if str(tree.op) == "or":
                left, right = self._vector(tree.lhs, at, query), self._vector(tree.rhs, at, query)
                known = {_nameless(labels) for labels in left}
                return left | {labels: one for labels, one in right.items() if _nameless(labels) not in known}
        raise Unsupported(f"{type(tree).__name__} in {query}: teach tests/simulation/prometheus.py this shape")

    def _increase(self, tree: Any, at: float, query: str) -> dict[Labels, float]:
        if not isinstance(tree, promql_parser.MatrixSelector):
            raise Unsupported(f"increase of {type(tree).__name__} in {query}")
        start = at - tree.range.total_seconds()
        found: dict[Labels, float] = {}
        for labels, samples in self._select(tree.vector_selector):
            within = samples.within(start, at)
            if len(within) > 1:
                found[_nameless(labels)] = _extrapolated(within, start, at)
        return found

    def _window(self, tree: Any, at: float, query: str) -> dict[Labels, list[float]]:
        if not isinstance(tree, promql_parser.MatrixSelector):
            raise Unsupported(f"a function over time of {type(tree).__name__} in {query}")
        start = at - tree.range.total_seconds()
        found = ((labels, samples.within(start, at)) for labels, samples in self._select(tree.vector_selector))
        return {labels: [value for _, value in samples] for labels, samples in found if samples}

    def _aggregate(self, tree: Any, at: float, query: str) -> dict[Labels, float]:
        reduce: dict[str, Callable[[list[float]], float]] = {
            "group": lambda _values: 1.0,
            "sum": sum,
            "max": max,
            "min": min,
            "count": lambda values: float(len(values)),
        }
        name, modifier = str(tree.op), tree.modifier
        by = str(modifier) if modifier is not None else ""
        if name not in reduce or (by and not by.startswith("by")):
            raise Unsupported(f"{name} {by} in {query}")
        kept = {one.strip() for one in by.removeprefix("by").strip(" ()").split(",")}
        groups: dict[Labels, list[float]] = {}
        for labels, value in self._vector(tree.expr, at, query).items():
            groups.setdefault(tuple(one for one in labels if one[0] in kept), []).append(value)
        return {labels: reduce[name](values) for labels, values in groups.items()}

    def _select(self, selector: Any) -> list[tuple[Labels, _Samples]]:
        if selector.matchers.or_matchers:
            raise Unsupported(f"alternatives inside of braces: {selector}")
        tests = [_test(one) for one in selector.matchers.matchers]
        if selector.name is not None:  # first: it leaves the fewest
            tests.insert(0, lambda labels: labels.get("__name__") == selector.name)
        found = []
        for labels, samples in self._series.items():
            named = dict(labels)
            if all(test(named) for test in tests) and not self.withholds(named):
                found.append((labels, samples))
        return found


class Twins:
    """Two servers behind one address that answer in turn."""

    def __init__(self, *servers: Prometheus) -> None:
        self._servers, self._turn = servers, 0

    async def ask(self, query: str, at: float) -> tuple[int, JsonObject]:
        """As Prometheus.ask, by the next of them."""
        self._turn += 1
        return await self._servers[self._turn % len(self._servers)].ask(query, at)


@dataclass(slots=True)
class Usage:
    """What the queries have cost, as serin.metrics.prometheus counts it."""

    queries: int = 0
    failed: int = 0


class Adapter:
    """What the collector asks: serin.metrics.prometheus.Prometheus, with a simulated server behind it.

    `patience`: seconds after which an answer is given up.
    """

    def __init__(self, server: Asked, *, patience: float = 13.0) -> None:
        self._server, self._patience = server, patience
        self.usage, self.skew = Usage(), ClockSkew()

    async def query(self, query: str, at: float, namespace: str = SHARED) -> Answer:  # noqa: ARG002 - no server asks
        """Evaluate PromQL at `at` (unix seconds); `namespace`: whose query it is."""
        self.usage.queries += 1
        answer = await self._answer(query, at)
        self.usage.failed += isinstance(answer, Failed)
        return answer

    async def estimate(self, query: str, at: float) -> Answer:
        """The same, for what decides nothing."""
        return await self.query(query, at)

    async def _answer(self, query: str, at: float) -> Answer:
        try:
            async with asyncio.timeout(self._patience):
                status, body = await self._server.ask(query, at)
        except TimeoutError:
            return _unreachable(f"no whole answer within {self._patience:g} s")
        except ConnectionError as error:
            return _unreachable(str(error))
        if body["status"] == "success":
            return answer_of(body)
        if body["errorType"] in ("bad_data", "execution") and status < 500:
            return Failed(Reason.QUERY_FAILED, f"Prometheus at simulation refused the query: {body['error']}")
        return _unreachable(f"it says {body['errorType']}: {body['error']}")

    def close(self) -> None:
        """There is nothing to close."""


def _extrapolated(samples: list[tuple[float, float]], start: float, end: float) -> float:
    """What a counter increased by between two moments, extended to them as Prometheus does (extrapolatedRate)."""
    (first, begun), (last, _) = samples[0], samples[-1]
    total, before = 0.0, begun
    for _, value in samples[1:]:
        total += value if value < before else value - before
        before = value
    spacing = (last - first) / (len(samples) - 1)
    ahead, behind = first - start, end - last
    ahead = spacing / 2 if ahead >= 1.1 * spacing else ahead
    behind = spacing / 2 if behind >= 1.1 * spacing else behind
    if total > 0.0 and begun >= 0.0:  # it cannot have been below 0 when the window began
        ahead = min(ahead, (last - first) * begun / total)
    return total * (last - first + ahead + behind) / (last - first)


def _unreachable(words: str) -> Failed:
    return Failed(Reason.PROMETHEUS_UNREACHABLE, f"Prometheus at simulation gives no answer: {words}")


def _named(series: Series, target: Target) -> Labels:
    name, labels = series
    own = {"__name__": name, "job": target.job, "instance": target.instance, **target.labels, **dict(labels)}
    return tuple(sorted(own.items()))


def _nameless(labels: Labels) -> Labels:
    return tuple(one for one in labels if one[0] != "__name__")


def _test(matcher: Any) -> Callable[[Mapping[str, str]], bool]:
    name, value, kind = matcher.name, matcher.value, matcher.op
    if kind == promql_parser.MatchOp.Equal:
        return lambda labels: bool(labels.get(name, "") == value)
    if kind == promql_parser.MatchOp.NotEqual:
        return lambda labels: bool(labels.get(name, "") != value)
    wanted = kind == promql_parser.MatchOp.Re
    return lambda labels: _matches(value, labels.get(name, "")) == wanted


@lru_cache(maxsize=100_000)  # the same few labels are asked about at every step of every query
def _matches(expression: str, text: str) -> bool:
    return re2.fullmatch(expression, text) is not None


def _matrix(found: Iterable[tuple[Labels, list[tuple[float, float]]]]) -> JsonObject:
    result = [
        {"metric": dict(labels), "values": [[at, _number(value)] for at, value in samples]}
        for labels, samples in found
        if samples
    ]
    return {"resultType": "matrix", "result": result}


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
