"""The rewards of a bandit: what each arm has earned in the same ticks, and which of them is the best.

Each arm is sampled beside stable, as for every metric; here the samples of all arms become one tick. A tick counts when
every arm with traffic has a sample, and all of them were counted beside the same requests of stable's. Until then none
of them is counted, and the next collection counts all of them again from the same moment on. So the arms are always
compared over the same seconds, and what an arm is compared with is never a mixture of hours.

What is counted is kept of all arms together (`Rollout.evidence`), and until when with each arm, as pods are scraped at
different moments. Both are in one write: nothing is lost or counted twice, whenever the operator restarts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from serin.analysis import bandit, text
from serin.analysis.bandit import BanditTick, State
from serin.analysis.evidence import Kind, Unreadable, Unusable
from serin.analysis.types import Arm, MetricVerdict, NoData, RatioTick, known_number
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.split import Split
from serin.api.state import Rollout
from serin.api.verdicts import Severity, Verdict
from serin.evaluation.samples import Key, Sample, subject_of, uncounted

_NOBODY: Final = Arm(0, 0)


@dataclass(frozen=True, slots=True)
class AskedReward:
    """`metric`: its name in the spec, a ratio. `higher`: a higher share is better.

    `half_life`: seconds until a reward counts half for the weights, None: always whole. `label_delay`: seconds until
    what happened to a request is known. `stop_at`: how sure the best arm must be, `min_requests`: of every arm before.
    """

    metric: str
    higher: bool = True
    half_life: float | None = None
    label_delay: float = 0.0
    stop_at: float = 0.95
    min_requests: int = 1000


@dataclass(frozen=True, slots=True)
class ArmRewards:
    """What is known of one arm.

    `share`: of its requests that were rewarded, with the hours in which it had more of them taken out. `chance`: the
    probability that it is the best.
    """

    requests: int = 0
    share: float = 0.0
    chance: float = 0.0


@dataclass(frozen=True, slots=True)
class Rewards:
    """What the arms of a bandit have earned so far.

    `arms`: by snapshot, stable's first. `winner`: the best one when that is proven on enough requests of every arm, or
    "". `at`: unix seconds of the last tick that was counted. `missing`: why the newest one cannot be. `evidence`: to
    keep of all arms together, by metric; `until`: of each arm, until when is counted (unix seconds).
    """

    metric: str
    arms: Mapping[str, ArmRewards]
    winner: str = ""
    at: float | None = None
    missing: NoData | None = None
    evidence: Mapping[str, JsonObject] = field(default_factory=dict)
    until: Mapping[str, float] = field(default_factory=dict)

    def counted(self, snapshot: str) -> dict[str, JsonObject]:
        """What to keep with one arm, by metric: where its next sample begins."""
        at = self.until.get(snapshot)
        return {} if at is None else {self.metric: {"kind": Kind.BANDIT.value, "at": at}}

    def told(self, snapshot: str) -> str:
        """One arm's numbers in words."""
        one = self.arms[snapshot]
        if not one.requests:
            return "nothing yet"
        return f"{text.percent(one.share)} of {text.count(one.requests)}, best with a chance of {one.chance:.0%}"

    def verdict(self, snapshot: str) -> MetricVerdict:
        """The same as a verdict; the estimate is what it earns to what stable earns."""
        one, stable = self.arms[snapshot], next(iter(self.arms.values()))
        compared = (
            f"rewarded {self.told(snapshot)}; stable {text.percent(stable.share)} of {text.count(stable.requests)}"
        )
        found = MetricVerdict(
            metric=self.metric,
            severity=Severity.GOAL,
            verdict=Verdict.INCONCLUSIVE,
            reason=Reason.GATHERING_EVIDENCE,
            message=compared if one.requests and stable.requests else "nothing is counted yet",
            estimate=one.share / stable.share if one.requests and stable.share else None,
            requests=one.requests,
            at=self.at,
        )
        if self.missing:
            message = self.missing.message
            return replace(found, verdict=Verdict.NO_DATA, reason=self.missing.reason, message=message)
        return replace(found, verdict=Verdict.PASS, reason=Reason.BEST_ARM) if snapshot == self.winner else found


def judge_rewards(asked: AskedReward, rollout: Rollout, split: Split, newest: Mapping[Key, Sample]) -> Rewards:
    """Count the newest samples of all arms, and say what is known.

    What is counted before the first labels of the arms' own requests can have come belongs to others, and is left out.
    """
    size = 1 + len(rollout.arms)
    state = _read(rollout.evidence.get(asked.metric), size) or bandit.begin(size, 0.0)
    joined = _joined(asked, rollout, split, newest)
    missing = joined if isinstance(joined, NoData) else None
    until: Mapping[str, float] = _until(asked, rollout)
    if isinstance(joined, _Joined):
        begun, until = rollout.stage.since, joined.until
        if begun is None or joined.since < begun + asked.label_delay:
            state = replace(state, at=joined.tick.at)
        else:
            try:
                state = bandit.fold(state, joined.tick, asked.half_life)
            except Unusable as problem:
                missing = NoData(problem.reason, str(problem))
    return replace(_judged(asked, rollout, state, missing), until=until)


@dataclass(frozen=True, slots=True)
class _Joined:
    """One tick of all arms; from when on it counts, and of each arm until when (unix seconds)."""

    tick: BanditTick
    since: float
    until: Mapping[str, float]


def _until(asked: AskedReward, rollout: Rollout) -> dict[str, float]:
    """Of each arm, until when is counted so far."""
    found = {arm.snapshot: known_number(arm.evidence.get(asked.metric), "at") for arm in rollout.arms}
    return {snapshot: at for snapshot, at in found.items() if at is not None}


def _joined(
    asked: AskedReward, rollout: Rollout, split: Split, newest: Mapping[Key, Sample]
) -> _Joined | NoData | None:
    """None: not every arm has a sample yet, or they are not of the same time."""
    found: dict[str, Sample] = {}
    for arm in rollout.arms:
        if arm.eliminated or not split.is_asked(arm.snapshot):
            continue
        sample = uncounted(subject_of(arm, rollout), asked.metric, newest)
        if sample is None:
            return None
        if isinstance(sample.tick, NoData):
            return sample.tick
        if not isinstance(sample.tick, RatioTick):
            return NoData(Reason.QUERY_FAILED, "a reward is a ratio: write ratio: {bad: the rewarded, total: all}")
        found[arm.snapshot] = sample
    return _of_one_time(rollout, found) if found else None


def _of_one_time(rollout: Rollout, found: Mapping[str, Sample]) -> _Joined | None:
    """None unless the arms were counted beside the same requests of stable's: samples of one collection are.

    An arm without traffic is counted up to now as well, or it would bring a longer time with it when it is back.
    """
    ticks = {snapshot: one.tick for snapshot, one in found.items() if isinstance(one.tick, RatioTick)}
    stable = {one.stable for one in ticks.values()}
    if len(stable) != 1:
        return None
    arms = (ticks[arm.snapshot].candidate if arm.snapshot in ticks else _NOBODY for arm in rollout.arms)
    at = max(one.at for one in ticks.values())
    until = {arm.snapshot: ticks[arm.snapshot].at if arm.snapshot in ticks else at for arm in rollout.arms}
    return _Joined(BanditTick(at, (*stable, *arms)), min(one.since for one in found.values()), until)


def _judged(asked: AskedReward, rollout: Rollout, state: State, missing: NoData | None) -> Rewards:
    names = (rollout.stable, *(arm.snapshot for arm in rollout.arms))
    eligible = (True, *(not arm.eliminated for arm in rollout.arms))
    counted = state if asked.higher else bandit.turned(state)
    chances, shares = bandit.best(counted, eligible), bandit.rates(state)
    arms = {
        name: ArmRewards(int(state.requests[place]), float(shares[place]), float(chances[place]))
        for place, name in enumerate(names)
    }
    leader = int(chances.argmax())
    playing = [arms[name] for name, one in zip(names, eligible, strict=True) if one]
    sure = (
        len(playing) > 1
        and chances[leader] >= asked.stop_at
        and min(one.requests for one in playing) >= asked.min_requests
        and bandit.proven(counted, leader, eligible, asked.stop_at)
    )
    return Rewards(
        metric=asked.metric,
        arms=arms,
        winner=names[leader] if sure else "",
        at=state.at or None,
        missing=missing,
        evidence={asked.metric: dict(bandit.write(state))} if state.at else {},
    )


def _read(evidence: JsonObject | None, arms: int) -> State | None:
    if evidence is None or evidence.get("kind") != Kind.BANDIT:
        return None
    try:
        return bandit.read(evidence, arms)
    except Unreadable:
        return None
