"""Requests through simulated Envoys: where they really go, who answers, who gets 503, and what Envoy counts of it.

Requests are drawn in batches: how many take which route, meet which pod, fail, and how long they take are draws from
the distributions that the routes and the versions' qualities give. So an hour of traffic costs little, and the same
seed is the same traffic. The counters are those of Serin's Envoy: one series for each combination of labels, born with
its first increment, and lost when the Envoy is restarted.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from serin.api.json import JsonObject
from tests.simulation.envoys import Envoy

Labels = tuple[tuple[str, str], ...]
Series = tuple[str, Labels]

BUCKETS: Final = (
    1.0,
    2.0,
    5.0,
    10.0,
    14.0,
    20.0,
    28.0,
    40.0,
    56.0,
    80.0,
    110.0,
    160.0,
    220.0,
    320.0,
    450.0,
    640.0,
    900.0,
)
BUCKETS_SLOW: Final = (1300.0, 1800.0, 2500.0, 3600.0, 5000.0, 10_000.0, 30_000.0, 60_000.0, 300_000.0)
NOBODY: Final = "nobody"  # answers 503 of Envoy's own


@dataclass(frozen=True, slots=True)
class Quality:
    """What a version is worth. `errors`: the share of requests that it fails. `http2`: it speaks that and nothing else.

    `rejects`: the share of the others that it calls the client's mistake (422).
    Latency is log-normal: `median` in milliseconds, `spread` of its logarithm.
    """

    errors: float = 0.0
    median: float = 20.0
    spread: float = 0.5
    http2: bool = False
    rejects: float = 0.0

    def below(self, milliseconds: float) -> float:
        """The share of requests that take no longer."""
        if not math.isfinite(milliseconds):
            return 1.0
        return 0.5 * (1.0 + math.erf(math.log(milliseconds / self.median) / (self.spread * math.sqrt(2.0))))


@dataclass(slots=True)
class Counters:
    """Series of one Envoy: by name and labels."""

    values: dict[Series, float] = field(default_factory=dict)

    def add(self, name: str, labels: Mapping[str, str], amount: float) -> None:
        """Count; a series that has counted nothing does not exist."""
        if amount:
            key = _series(name, labels)
            self.values[key] = self.values.get(key, 0.0) + amount


def _series(name: str, labels: Mapping[str, str]) -> Series:
    return name, tuple(sorted(labels.items()))


@lru_cache(maxsize=1000)
def _histogram(deployment: str, snapshot: str, attempt: str, bounds: tuple[float, ...]) -> "list[Series]":
    """The series of one histogram: its buckets, its count, its sum."""
    labels = {**_labels(deployment, snapshot), "serin_attempt": attempt}
    texts = ["+Inf" if bound == math.inf else f"{bound:g}" for bound in bounds]
    buckets = [_series("envoy_serin_milliseconds_bucket", {**labels, "le": text}) for text in texts]
    return buckets + [_series(f"envoy_serin_milliseconds_{name}", labels) for name in ("count", "sum")]


@lru_cache(maxsize=1000)
def _shares(quality: "Quality", bounds: tuple[float, ...]) -> "list[float]":
    """The share of requests in each bucket."""
    edges = [quality.below(bound) for bound in bounds]
    return [upper - lower for lower, upper in zip([0.0, *edges[:-1]], edges, strict=True)]


@dataclass(slots=True)
class Served:
    """What became of requests. `by`: how many each snapshot answered; `failed`: how many clients saw fail.

    `nobody`: how many of those had nobody to answer (503); `shielded`: how many the stable version saved; `rejected`:
    how many were called the client's mistake, which is an answer.
    """

    requests: int = 0
    by: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    nobody: int = 0
    shielded: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # by snapshot

    def add(self, other: "Served") -> None:
        """Take these in too."""
        self.requests += other.requests
        self.by += other.by
        self.failed += other.failed
        self.nobody += other.nobody
        self.shielded += other.shielded
        self.rejected += other.rejected


class Proxy:
    """The data plane of one Envoy.

    `quality`: of a snapshot, now; `reachable`: whether somebody answers at an address. `even`: a version fails as many
    requests as its quality says, no more and no fewer; else that is their expectation.
    """

    def __init__(
        self,
        envoy: Envoy,
        quality: Callable[[str], Quality],
        reachable: Callable[[str], bool],
        *,
        seed: int = 0,
        buckets: Sequence[float] = (*BUCKETS, *BUCKETS_SLOW),
        even: bool = False,
    ) -> None:
        self.envoy, self._quality, self._reachable = envoy, quality, reachable
        self._draw = np.random.default_rng([seed, *envoy.node.encode()])
        self._buckets = (*buckets, math.inf)
        self._owed: dict[str, float] | None = {} if even else None  # by snapshot, parts of a failure that are to come
        self.counters = Counters()
        self.served: dict[str, Served] = {}
        self.attempts: Counter[str] = Counter()  # by snapshot; a restart of the Envoy does not lose them
        self._times: dict[tuple[str, str, str], np.ndarray] = {}
        envoy.on_restart = self._forget

    def _forget(self) -> None:
        self.counters = Counters()
        self._times.clear()

    def serve(self, deployment: str, requests: int) -> Served:
        """Send requests to a deployment (`namespace/name`)."""
        routes, total = self.envoy.routes(deployment), Served(requests)
        shares = self.envoy.shares(deployment)
        if not routes:
            total.failed = total.nobody = requests
            total.by[NOBODY] += requests
        for route, count in zip(routes, self._split(requests, shares), strict=bool(routes)):
            if count:
                total.add(self._route(deployment, route, int(count)))
        total.requests = requests
        self.served.setdefault(deployment, Served()).add(total)
        return total

    def _split(self, count: int, shares: Sequence[float]) -> list[int]:
        if not shares:
            return []
        whole = sum(shares)
        return [int(one) for one in self._draw.multinomial(count, [share / whole for share in shares])]

    def _route(self, deployment: str, route: JsonObject, count: int) -> Served:
        labels = _labels(deployment, str(route.get("name", "")))
        self.counters.add("envoy_serin_answers", labels, count)
        if "direct_response" in route:
            self.counters.add("envoy_serin_answer_failures", labels, count)
            return Served(0, Counter({NOBODY: count}), count, count)
        action = route["route"]
        self._copies(deployment, action, count)
        groups = self.envoy.endpoints(action["cluster"])
        first = next((group for group in groups if group), [])
        if not first:
            self.counters.add("envoy_serin_answer_failures", labels, count)
            return Served(0, Counter({NOBODY: count}), count, count)
        policy = action.get("retry_policy") or {}
        retries = str(policy.get("retry_on", ""))
        found = Served()
        lost, failed = self._attempts(deployment, first, count, found)
        others = next((group for group in groups if group and group is not first), [])
        if "retry_priority" in policy and others:
            again = lost + (failed if "5xx" in retries.split(",") else 0)
            lost_again, failed_again = self._attempts(deployment, others, again, found)
            found.shielded = again - lost_again - failed_again
            failed = lost + failed - again + failed_again
            lost = lost_again
        elif "connect-failure" in retries and lost:
            there = [one for one in first if self._reachable(one["address"])]
            if there:
                lost_again, failed_again = self._attempts(deployment, there, lost, found)
                lost, failed = lost_again, failed + failed_again
        found.failed = lost + failed
        found.nobody = lost
        found.by[NOBODY] += lost
        self.counters.add("envoy_serin_answer_failures", labels, found.failed)
        return found

    def _copies(self, deployment: str, action: JsonObject, count: int) -> None:
        """Copies go where a route says; nobody gets the answers to them."""
        for policy in action.get("request_mirror_policies", ()):
            hosts = next((group for group in self.envoy.endpoints(policy["cluster"]) if group), [])
            share = policy["runtime_fraction"]["default_value"]["numerator"] / 10_000
            self._attempts(deployment, hosts, int(self._draw.binomial(count, share)) if hosts else 0, Served())

    def _attempts(self, deployment: str, hosts: list[JsonObject], count: int, into: Served) -> tuple[int, int]:
        """Attempts at some hosts: how many met nobody, and how many were answered with a failure. The rest: `into`."""
        lost = failed = 0
        for host, here in zip(hosts, self._split(count, [1.0] * len(hosts)), strict=True):
            if not here:
                continue
            snapshot, attempt = str(host["snapshot"]), str(host["attempt"])
            by_pod = {**_labels(deployment, snapshot), "serin_attempt": attempt, "serin_slot": str(host["slot"])}
            self.counters.add("envoy_serin_attempts", by_pod, here)
            self.attempts[snapshot] += here
            if not self._reachable(host["address"]) or host["http2"] != self._quality(snapshot).http2:
                self.counters.add("envoy_serin_failures", by_pod, here)
                lost += here
                continue
            quality = self._quality(snapshot)
            bad = self._failures(snapshot, here, quality.errors)
            self.counters.add("envoy_serin_failures", by_pod, bad)
            self._time(deployment, snapshot, attempt, quality, here)
            failed += bad
            into.by[snapshot] += here - bad
            if rejected := int(self._draw.binomial(here - bad, quality.rejects)) if quality.rejects else 0:
                self.counters.add("envoy_serin_rejections", by_pod, rejected)
                into.rejected[snapshot] += rejected
        return lost, failed

    def _failures(self, snapshot: str, count: int, share: float) -> int:
        """How many of so many requests a version fails."""
        if self._owed is None:
            return int(self._draw.binomial(count, share))
        owed = self._owed.get(snapshot, 0.0) + count * share
        bad = min(count, math.floor(owed))
        self._owed[snapshot] = owed - bad
        return bad

    def _time(self, deployment: str, snapshot: str, attempt: str, quality: Quality, count: int) -> None:
        """How long so many requests took."""
        if count:
            key = (deployment, snapshot, attempt)
            known = self._times.setdefault(key, np.zeros(len(self._buckets) + 1))
            known[:-1] += np.cumsum(self._draw.multinomial(count, _shares(quality, self._buckets)))
            known[-1] += count * quality.median

    def _histograms(self) -> Iterator[tuple[Series, float]]:
        """Every bucket of each histogram that exists, also those that are still empty; its count and its sum."""
        for (deployment, snapshot, attempt), counts in self._times.items():
            *buckets, total, milliseconds = _histogram(deployment, snapshot, attempt, self._buckets)
            yield from zip(buckets, counts[:-1].tolist(), strict=True)
            yield total, float(counts[-2])
            yield milliseconds, float(counts[-1])

    def exposition(self) -> dict[Series, float]:
        """What a scrape of this Envoy finds."""
        uptime = asyncio.get_running_loop().time() - self.envoy.started
        found: dict[Series, float] = {("envoy_server_uptime", ()): float(math.floor(uptime)), **self.counters.values}
        found.update(self._histograms())
        for cluster, members in self.envoy.membership().items():
            deployment, _, snapshot = cluster.rpartition("/")
            found[_series("envoy_cluster_membership_total", _labels(deployment, snapshot))] = float(members)
        return found


def _labels(deployment: str, snapshot: str) -> dict[str, str]:
    namespace, _, name = deployment.partition("/")
    return {"serin_namespace": namespace, "serin_model_deployment": name, "serin_snapshot": snapshot}


@dataclass(slots=True)
class Clients:
    """Everybody who sends requests to one deployment, evenly over the Envoys that `proxies` gives at each moment.

    `rate`: requests a second, of all together. `seen` is what became of all of them.
    """

    deployment: str
    proxies: Callable[[], Iterable[Proxy]]
    rate: float
    seed: int = 0
    step: float = 1.0
    seen: Served = field(default_factory=Served)

    async def run(self) -> None:
        """Send, until cancelled."""
        draw = np.random.default_rng([self.seed, *self.deployment.encode()])
        while True:
            there = list(self.proxies())
            count = int(draw.poisson(self.rate * self.step))
            if not there:
                self.seen.add(Served(count, Counter({NOBODY: count}), count, count))
            else:
                shares = [1.0 / len(there)] * len(there)
                for proxy, here in zip(there, draw.multinomial(count, shares), strict=True):
                    self.seen.add(proxy.serve(self.deployment, int(here)))
            await asyncio.sleep(self.step)
