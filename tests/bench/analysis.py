"""The numbers of the analysis: false rollbacks, requests until a rollback, cost. Run by `make bench-analysis`.

Every scenario is judged tick by tick through engine.fold, as in the operator, and beside it by thresholds as in other
tools' documentation. Writes docs/analysis-bench.md and docs/analysis-bench.svg.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from serin.analysis import engine
from serin.analysis.types import Policy, Tick
from serin.api.verdicts import Severity, Verdict
from tests.bench import analysis_alternatives, analysis_plot, analysis_scenarios
from tests.bench.analysis_scenarios import Latency, Live, Predictions, Ratio, Scenario, always, climb, later, ramp
from tests.bench.analysis_worlds import World

OURS = "Serin"
ERRORS, LATENCY = Policy("errors", Severity.CRITICAL), Policy("latency", Severity.MAJOR)
PREDICTION = Policy("prediction", Severity.MAJOR)
POLICIES = {Ratio: ERRORS, Latency: LATENCY, World: LATENCY, Predictions: PREDICTION, Live: PREDICTION}
ALTERNATIVES: dict[type, dict[str, Callable[[Any], int | None]]] = {
    Ratio: {
        "Flagger tutorial (success >= 99 %, 1 min, 5 failures)": analysis_alternatives.FLAGGER,
        "the same, 10 failures": analysis_alternatives.FLAGGER_TEN,
        "Argo Rollouts sample (>= 95 %, 5 min, failureLimit 3)": analysis_alternatives.ARGO,
        "over 2 % in 1 min, 3 failures allowed": analysis_alternatives.PLAIN,
        "z-test at every look, nominal 5 %": analysis_alternatives.repeated_z_test,
    },
    Latency: {"p99 (interpolated) over 500 ms, 1 min, 5 failures": analysis_alternatives.slow_percentile},
    Predictions: {"PSI over 0.1, 1 min": analysis_alternatives.plain_index},
    Live: {},
    World: {},
}


def _one(rate: float) -> Ratio:
    return Ratio(always(rate), always(0.01))


WORLDS: dict[str, World] = {
    f"latency: {what}, {rate} requests/s": replace(world, rate=float(rate))
    for what, world in {
        "a cold start twice as slow for 60 s (warmup: 60s)": World(0.0, warmup=60.0, cold=60.0),
        "the candidate's pod on a node 30 % slower, as one of stable's": World(0.0, slow_node=1.3),
        "neighbours that take half of a node for 2 minutes": World(0.0, every=1200.0),
    }.items()
    for rate in (5, 50)
}
# How the tolerance of 20 % divides what is rolled back from what is let pass.
WITHIN = {f"latency: {percent} % slower": Latency(times=1.0 + percent / 100.0) for percent in (10, 15, 20)}
SCENARIOS: dict[str, Scenario | World] = {
    "errors: no difference, 1 %": _one(0.01),
    "errors: ramp 5/10/25/50 %, common rate 0.5 to 3 %": Ratio(climb, climb, ramp),
    "errors: no difference, in bursts of 3": Ratio(always(0.01), always(0.01), burst=3),
    "errors: no difference, in bursts of 5, one stable pod": Ratio(always(0.01), always(0.01), burst=5, pods=1),
    "errors: 1 % to 2 %": _one(0.02),
    "errors: 1 % to 5 %": _one(0.05),
    "errors: 1 % to 20 %": _one(0.20),
    "errors: 1 % to 5 % from the middle on": Ratio(later, always(0.01)),
    "latency: no difference": Latency(),
    "latency: 30 % slower": Latency(times=1.3),
    **WITHIN,
    **WORLDS,
    "latency: twice as slow": Latency(times=2.0),
    "latency: 2 % of the requests 10 times slower": Latency(slow=0.02),
    "predictions: no difference": Predictions(),
    "predictions: shift of 0.25 sd": Predictions(shift=0.25),
    "predictions: shift of 0.5 sd": Predictions(shift=0.5),
    "predictions: both arms drift by 1 sd": Predictions(drift=1.0),
    "live against reference: drift of 1 sd": Live(1.0),
    "live against reference: no drift": Live(0.0),
}
HEALTHY = {
    *WORLDS,
    *WITHIN,
    "errors: no difference, 1 %",
    "errors: ramp 5/10/25/50 %, common rate 0.5 to 3 %",
    "errors: no difference, in bursts of 3",
    "errors: no difference, in bursts of 5, one stable pod",
    "latency: no difference",
    "predictions: no difference",
    "predictions: both arms drift by 1 sd",
    "live against reference: no drift",
}


@dataclass(frozen=True, slots=True)
class Run:
    """Candidate requests and look of the first failure (None: none), whether it became critical, requests at a Pass."""

    failed: int | None
    look: int | None
    critical: bool
    passed: int | None
    alternatives: tuple[int | None, ...]


def run(name: str, seed: int) -> Run:
    """One half hour of one scenario; healthy ones go on after a failure, to see whether it becomes critical."""
    scenario = SCENARIOS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    policy = POLICIES[type(scenario)]
    if isinstance(scenario, Ratio):
        policy = Policy("errors", Severity.CRITICAL, overdispersion=scenario.overdispersion(rng))
    if isinstance(scenario, World):
        drawn = scenario.draw(rng)
        policy = replace(LATENCY, warmup=scenario.warmup, slowest_pod=drawn.slowest_pod())
        ticks: list[Any] = list(drawn.ticks())
    else:
        ticks = list(scenario.ticks(rng))
    alternatives = tuple(alternative(ticks) for alternative in ALTERNATIVES[type(scenario)].values())
    return _ours(policy, ticks, alternatives, to_the_end=name in HEALTHY)


def _ours(policy: Policy, ticks: Iterable[Tick], alternatives: tuple[int | None, ...], to_the_end: bool) -> Run:
    evidence, failed, at, passed = None, None, None, None
    for look, tick in enumerate(ticks, 1):
        judgement = engine.fold(policy, evidence, tick)
        evidence, verdict = judgement.evidence, judgement.verdict
        if verdict.verdict is Verdict.PASS and passed is None:
            passed = verdict.requests
        if verdict.verdict in (Verdict.FAIL_MINOR, Verdict.FAIL_CRITICAL):
            failed, at = (verdict.requests, look) if failed is None else (failed, at)
            if verdict.verdict is Verdict.FAIL_CRITICAL or not to_the_end:
                return Run(failed, at, verdict.verdict is Verdict.FAIL_CRITICAL, passed, alternatives)
    return Run(failed, at, False, passed, alternatives)


def interval(hits: int, runs: int) -> str:
    """A rate in percent with its exact 95 % interval."""
    low, high = stats.binomtest(hits, runs).proportion_ci(0.95)
    return f"{100 * hits / runs:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def quantile(values: Sequence[int | None], share: float) -> str:
    """A quantile over all runs with its 95 % interval by order statistics; runs that never fired count as infinite."""
    ordered = sorted(math.inf if value is None else float(value) for value in values)
    low, high = stats.binom(len(ordered), share).ppf([0.025, 0.975]).astype(int)
    index = min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)
    said = [_requests(ordered[min(i, len(ordered) - 1)]) for i in (index, low, high)]
    return f"{said[0]} ({said[1]} to {said[2]})" if said[0] != "never" else "never"


def middle(values: Sequence[int | None], share: float) -> float:
    """The same quantile as a number."""
    ordered = sorted(math.inf if value is None else float(value) for value in values)
    return ordered[math.ceil(share * len(ordered)) - 1]


def _requests(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:,.0f}"


@dataclass(frozen=True, slots=True)
class Target:
    """A promise of the project and what was measured; `met` is about the measured value, not its interval."""

    what: str
    promise: str
    measured: str
    met: bool


Results = dict[str, list[Run]]


def targets(results: Results, costs: dict[str, float]) -> list[Target]:
    """All targets, in the order of the table they come from."""
    rate, requests, one_look = (partial(kind, results) for kind in (_rate, _requests_until, _one_look))
    passed = [one.passed for one in results["errors: no difference, 1 %"]]
    return [
        rate("errors: no difference, 1 %", "false rollback", 0.02),
        rate("errors: no difference, 1 %", "false rollback, critical", 0.002, lambda one: one.critical),
        rate("errors: ramp 5/10/25/50 %, common rate 0.5 to 3 %", "false rollback", 0.03),
        rate("errors: no difference, in bursts of 3", "false rollback", 0.05),
        rate("errors: no difference, in bursts of 5, one stable pod", "false rollback", 0.05),
        *requests("errors: 1 % to 2 %", 1350, 3300),
        *requests("errors: 1 % to 5 %", 150, 400),
        one_look("errors: 1 % to 20 %"),
        *requests("latency: 30 % slower", 90),
        one_look("latency: twice as slow"),
        *requests("latency: 2 % of the requests 10 times slower", 300),
        rate("latency: no difference", "false rollback", 0.05),
        *(rate(name, "false rollback", 0.02) for name in WORLDS),
        rate("latency: 10 % slower", "rolled back, within the tolerance", 0.05),
        *requests("predictions: shift of 0.25 sd", 300),
        *requests("predictions: shift of 0.5 sd", 100),
        rate("predictions: no difference", "false rollback", 0.02),
        rate("predictions: both arms drift by 1 sd", "false rollback", 0.02),
        rate("live against reference: drift of 1 sd", "found", 0.99, at_least=True),
        Target("Pass with no difference: median", "<= 600", quantile(passed, 0.5), middle(passed, 0.5) <= 600),
        _cost(costs, "a ratio and tick", 100),
        _cost(costs, "a histogram of 15 buckets and tick", 1000),
        *(
            Target(what, "< 1,024", f"{costs[what]:.0f}", costs[what] < 1024)
            for what in ("bytes of a ratio", "bytes of a histogram")
        ),
    ]


def _fired(one: Run) -> bool:
    return one.failed is not None


def _rate(
    results: Results,
    scenario: str,
    what: str,
    bound: float,
    hits: Callable[[Run], bool] = _fired,
    at_least: bool = False,
) -> Target:
    runs = results[scenario]
    count = sum(map(hits, runs))
    met = count / len(runs) >= bound if at_least else count / len(runs) <= bound
    promise = f"{'>=' if at_least else '<='} {100 * bound:g} %"
    return Target(f"{scenario}: {what}", promise, interval(count, len(runs)), met)


def _one_look(results: Results, scenario: str) -> Target:
    """A target of 50 requests is one look, which brings 50 on average."""
    looks = [one.look for one in results[scenario]]
    measured = f"{quantile([one.failed for one in results[scenario]], 0.5)}: {middle(looks, 0.5):.0f} look"
    return Target(f"{scenario}: median", "<= 50, one look", measured, middle(looks, 0.5) <= 1)


def _requests_until(results: Results, scenario: str, median: float, high: float | None = None) -> list[Target]:
    values = [one.failed for one in results[scenario]]
    return [
        Target(f"{scenario}: {what}", f"<= {most:,.0f}", quantile(values, share), middle(values, share) <= most)
        for what, share, most in (("median", 0.5, median), ("95th percentile", 0.95, high))
        if most is not None
    ]


def _cost(costs: dict[str, float], what: str, most: int) -> Target:
    return Target(f"cost of {what}", f"<= {most:,} us", f"{costs[what]:.0f} us", costs[what] <= most)


def costs() -> dict[str, float]:
    """Microseconds of processor time per tick, the best of many batches, and bytes of evidence after half an hour."""
    found, rng = {}, np.random.default_rng(1)
    for name, policy, scenario in (("ratio", ERRORS, _one(0.01)), ("histogram", LATENCY, Latency())):
        ticks: list[Any] = list(scenario.ticks(rng))
        best, evidence = math.inf, None
        for _ in range(200):
            start, evidence = time.process_time(), None
            for tick in ticks:
                evidence = engine.fold(policy, evidence, tick).evidence
            best = min(best, (time.process_time() - start) / len(ticks))
        what = "a ratio and tick" if name == "ratio" else "a histogram of 15 buckets and tick"
        found[what] = 1e6 * best
        found[f"bytes of a {name}"] = float(len(json.dumps(evidence, separators=(",", ":"))))
    return found


def report(results: Results, promises: Sequence[Target], seconds: float) -> str:
    """The Markdown page."""
    lines = [
        "# The analysis, measured",
        "",
        "Written by `make bench-analysis`; do not edit. 50 requests/s, the candidate gets 10 %, stable fails 1 %, a",
        "look every 10 s for 30 minutes. In brackets: 95 % intervals. Requests: the candidate's, until the rollback.",
        f"{len(results['latency: no difference'])} half hours of each scenario, four times as many of errors, "
        f"simulated in {seconds:.0f} s.",
        "Overdispersion and how far pods differ are read from 5 stable pods' hour before, or those that are named.",
        "",
        "## Targets",
        "",
        "| what | target | measured | |",
        "|---|---|---|---|",
        *(
            f"| {one.what} | {one.promise} | {one.measured} | {'met' if one.met else '**not met**'} |"
            for one in promises
        ),
        "",
        "## Beside others",
        "",
        "![Candidate requests until the rollback](analysis-bench.svg)",
        "",
        "| scenario | method | rolled back | median | 95th percentile |",
        "|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        for who, values in _by_judge(name, runs).items():
            fired = interval(sum(value is not None for value in values), len(values))
            spread = ("", "") if name in HEALTHY else (quantile(values, 0.5), quantile(values, 0.95))
            lines.append(f"| {name} | {who} | {fired} | {spread[0]} | {spread[1]} |")
        if (bound := BOUNDS.get(name)) is not None:
            lines.append(f"| {name} | Wald's bound on the mean, odds ratio known | | {bound:,.0f} | |")
    passing = [one for one in results["errors: 1 % to 2 %"] if one.passed is not None]
    early = interval(len(passing), len(results["errors: 1 % to 2 %"]))
    lines += ["", f"A candidate that fails twice as often passed at some look before it was caught: {early}.", ""]
    return "\n".join(lines)


BOUNDS = {
    f"errors: 1 % to {100 * rate:g} %": analysis_alternatives.wald(0.01, rate / (1 - rate) / (0.01 / 0.99))
    for rate in (0.02, 0.05, 0.20)
}


def _by_judge(name: str, runs: Sequence[Run]) -> dict[str, list[int | None]]:
    judged: dict[str, list[int | None]] = {OURS: [one.failed for one in runs]}
    for index, alternative in enumerate(ALTERNATIVES[type(SCENARIOS[name])]):
        judged[alternative] = [one.alternatives[index] for one in runs]
    return judged


def main() -> None:
    """Simulate, print the page, write it and its plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        default=500,
        help="half hours per scenario; four times as many for errors",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page and the plot")
    options = parser.parse_args()
    start, measured = time.monotonic(), costs()
    results = {}
    with Pool(options.processes) as pool:
        for name in SCENARIOS:
            runs = options.runs * (4 if isinstance(SCENARIOS[name], Ratio) else 1)
            results[name] = pool.map(partial(run, name), range(runs), chunksize=10)
    page = report(results, targets(results, measured), time.monotonic() - start)
    print(page)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "analysis-bench.md").write_text(page)
    spreads = {
        name: {who: (middle(v, 0.5), middle(v, 0.95)) for who, v in _by_judge(name, runs).items()}
        for name, runs in results.items()
        if name not in HEALTHY
    }
    limit = analysis_scenarios.LOOKS * analysis_scenarios.PER_LOOK / 10
    (options.out / "analysis-bench.svg").write_text(analysis_plot.draw(spreads, BOUNDS, limit))


if __name__ == "__main__":
    main()
