"""How often is a healthy version called worse while it is watched: alerts a month, per metric and kind of `against`?

Prints the tables of docs/watching-bench.md: `.venv/bin/python -m tests.bench.watching`. Each run is a world of nine
weeks by the minute: traffic with a day and a week in it, a share of bad requests with a season of its own and a memory
of hours, bursts in which it is four times as high, gaps in which nothing was scraped. A version is promoted after four
weeks, and nothing is ever wrong with it; the month after its first day counts. An alert is a breach that begins.

The second table puts something wrong into the fourth week after the promotion, for as long as it says.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from serin.analysis import engine
from serin.analysis.types import Arm, PastTick, Policy, RatioTick, Stretch
from serin.api.spec import Metric, RatioQuery
from serin.api.verdicts import FAILURES, Against, Severity
from serin.evaluation.past import past_request

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
MONTH: Final = 30
BEFORE: Final = 28  # days of history before the promotion
DAYS: Final = BEFORE + 1 + MONTH
MINUTES: Final = int((1 + MONTH) * DAY / MINUTE)  # that are looked at
LOOKS: Final = 5  # minutes between two looks at a limit
RUNS: Final = 20
# 2023-11-13, a Monday at 00:00.
BEGIN: Final = 1_699_833_600.0


@dataclass(frozen=True, slots=True)
class World:
    """Requests and bad ones by the minute, added up; `seen`: minutes that were scraped, added up."""

    requests: np.ndarray
    bad: np.ndarray
    seen: np.ndarray

    def window(self, end: float, seconds: float) -> Stretch:
        """What Prometheus would say of the window that ends at `end` (unix seconds)."""
        last, first = (int((one - BEGIN) // MINUTE) for one in (end, end - seconds))
        first = max(first, 0)
        if last <= first:
            return Stretch(0, 0.0, 0.0)
        requests, bad, seen = (int(one[last] - one[first]) for one in (self.requests, self.bad, self.seen))
        return Stretch(requests, bad / requests if requests else 0.0, seen / (seconds / MINUTE))


def world(dice: np.random.Generator, rate: float, share: float, wrong: tuple[float, float] | None = None) -> World:
    """`rate`: requests a second at noon; `share` of them is bad. `wrong`: times as many are, for so many seconds."""
    minutes = np.arange(int(DAYS * DAY / MINUTE))
    day, week = minutes / 1_440.0, minutes / 10_080.0
    traffic = rate * (1.0 + 0.7 * np.sin(2 * np.pi * (day - 0.3))) / 1.7 * np.where(minutes % 10_080 >= 7_200, 0.6, 1.0)
    season = 1.0 + 0.25 * np.sin(2 * np.pi * (day - 0.6)) + 0.1 * np.sin(2 * np.pi * week)
    memory = _memory(dice, minutes.size, hours=3.0, deviation=0.12)
    bad_share = share * season * np.exp(memory)
    for begins in _times(dice, minutes.size, every=4 * 1_440):
        bad_share[begins : begins + int(dice.exponential(15.0)) + 3] *= 4.0
    if wrong:
        times, seconds = wrong
        begins = int((BEFORE + 22) * 1_440)
        bad_share[begins : begins + int(seconds / MINUTE)] *= times
    seen = np.ones(minutes.size)
    for begins in _times(dice, minutes.size, every=5 * 1_440):
        seen[begins : begins + int(dice.exponential(40.0)) + 5] = 0.0
    requests = dice.poisson(np.maximum(traffic, 0.0) * MINUTE)
    bad = dice.binomial(requests, np.clip(bad_share, 0.0, 1.0))
    return World(*(np.concatenate([[0], np.cumsum(one)]) for one in (requests * seen, bad * seen, seen)))


def _memory(dice: np.random.Generator, size: int, hours: float, deviation: float) -> np.ndarray:
    """Noise that forgets itself within hours."""
    keep = np.exp(-1.0 / (60.0 * hours))
    steps = dice.normal(0.0, deviation * np.sqrt(1.0 - keep**2), size)
    found, value = np.empty(size), 0.0
    for place, step in enumerate(steps):
        value = keep * value + step
        found[place] = value
    return found


def _times(dice: np.random.Generator, size: int, every: float) -> Iterator[int]:
    at = dice.exponential(every)
    while at < size:
        yield int(at)
        at += dice.exponential(every)


@dataclass(frozen=True, slots=True)
class Asked:
    """A metric as a user writes it."""

    against: Against
    window: float = HOUR
    lasting: float = 0.0
    limit: float | None = None

    @property
    def title(self) -> str:
        """Its line of YAML, in short."""
        window = "24h" if self.window == DAY else f"{self.window / HOUR:g}h"
        lasting = f", for: {self.lasting / MINUTE:g}m" if self.lasting else ""
        limit = f", limit: {self.limit:g}" if self.limit else ""
        return f"`against: {self.against}, window: {window}{lasting}{limit}`"


def breaches(found: World, asked: Asked, share: float, overdispersion: float) -> list[float]:
    """When a breach begins, in days after the version's first day."""
    limit = 2 * share if asked.against is Against.LIMIT else asked.limit
    source = RatioQuery("bad{ {{.version}} }", "all{ {{.version}} }")
    metric = Metric("m", source, Severity.MAJOR, asked.against, limit, window=asked.window, lasting=asked.lasting)
    policy = Policy(
        "m", Severity.MAJOR, asked.against, limit=limit, overdispersion=overdispersion, window=asked.window,
        lasting=asked.lasting, expected_ticks=int(asked.window / MINUTE),
    )  # fmt: skip
    promoted = BEGIN + BEFORE * DAY
    begun, evidence, was, last = [], None, False, promoted
    for minute in range(0, MINUTES, LOOKS if asked.against is Against.LIMIT else 1):
        now = promoted + minute * MINUTE
        if asked.against is Against.LIMIT:
            one = found.window(now, now - last) if now > last else None
            if one is None or not one.requests:
                continue
            last = now
            bad = round(one.value * one.requests)
            kept = evidence if (now - promoted) % asked.window else None
            judged = engine.fold(policy, kept, RatioTick(now, Arm(one.requests, bad), Arm(0, 0)))
            estimate = judged.verdict.estimate or 0.0
            fails = judged.verdict.verdict in FAILURES and estimate > (limit or 0.0)
        else:
            request = past_request(metric, evidence, promoted, now)
            if request is None:
                continue
            earlier = tuple(found.window(end, request.length) for end in request.moments) if request.moments else None
            tick = PastTick(now, found.window(now, request.window), request.slot, earlier, "share", request.length)
            judged = engine.fold(policy, evidence, tick)
            fails = judged.verdict.verdict in FAILURES
        if fails and not was and now >= promoted + DAY:
            begun.append((now - promoted - DAY) / DAY)
        evidence, was = judged.evidence, fails
    return begun


METRICS: Final = {
    "busy: 50 requests a second, 1% bad": (50.0, 0.01),
    "small: 1 request a second, 1% bad": (1.0, 0.01),
    "rare: 50 requests a second, 0.01% bad": (50.0, 0.0001),
    "recall: 5 labels a second, 20% missed": (5.0, 0.2),
}
KINDS: Final = (
    Asked(Against.HISTORY, DAY),
    Asked(Against.HISTORY, DAY, 0.0, 1.1),
    Asked(Against.HISTORY),
    Asked(Against.HISTORY, HOUR, 0.0, 2.0),
    Asked(Against.HISTORY, HOUR, 60 * MINUTE),
    Asked(Against.SNAPSHOT, DAY),
    Asked(Against.SNAPSHOT),
    Asked(Against.LIMIT, DAY),
    Asked(Against.LIMIT),
)
# Times as many bad requests, and for how long.
WRONG: Final = ((1.1, 7 * DAY), (1.3, DAY), (1.5, DAY), (2.0, DAY), (2.0, 2 * HOUR), (5.0, HOUR))
OVERDISPERSION: Final = 2.0  # as is taken where the pods say nothing


def healthy(runs: int) -> None:
    """Print alerts a month of versions with which nothing is wrong."""
    print("| | " + " | ".join(METRICS) + " |\n|" + "---|" * (1 + len(METRICS)))
    for asked in KINDS:
        cells = []
        for place, (rate, share) in enumerate(METRICS.values()):
            counts = []
            for run in range(runs):
                found = world(np.random.default_rng([place, run]), rate, share)
                counts.append(len(breaches(found, asked, share, OVERDISPERSION)))
            quiet = sum(one == 0 for one in counts) / runs
            cells.append(f"{np.mean(counts):.2f} (none in {quiet:.0%})")
        print(f"| {asked.title} | " + " | ".join(cells) + " |", flush=True)


def wrong(runs: int) -> None:
    """Print how often, and after how long, what is wrong is found."""
    names = [
        f"{times:g}x for {seconds / DAY:g} days" if seconds > DAY else f"{times:g}x for {seconds / HOUR:g}h"
        for times, seconds in WRONG
    ]
    print("\n| | " + " | ".join(names) + " |\n|" + "---|" * (1 + len(names)))
    rate, share = METRICS["busy: 50 requests a second, 1% bad"]
    for asked in KINDS:
        cells = []
        for case in WRONG:
            late = []
            for run in range(runs):
                found = world(np.random.default_rng([99, run]), rate, share, case)
                begins = [one - 21.0 for one in breaches(found, asked, share, OVERDISPERSION)]
                hit = [one for one in begins if 0.0 <= one <= case[1] / DAY + asked.window / DAY]
                late += hit[:1]
            cells.append(f"{len(late) / runs:.0%}" + (f", {np.median(late) * 24:.1f} h" if late else ""))
        print(f"| {asked.title} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    asked_runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    healthy(asked_runs)
    wrong(max(1, asked_runs // 2))
