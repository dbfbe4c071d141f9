"""From ticks to verdicts: the evidence that the status keeps, with what was collected since folded in.

Reads no clock and no cluster. The same look twice gives the same evidence: what is counted is not counted again.
"""

from serin.analysis import engine
from serin.analysis.types import Judgement, Policy, Tick
from serin.api.json import JsonObject
from serin.api.spec import ModelDeployment
from serin.api.status import State
from serin.controller.evidence_loop import EvidenceLoop
from serin.evaluation.policies import SPLIT
from serin.rollout.model import Evidence


def weigh(deployment: ModelDeployment, state: State, ticker: EvidenceLoop) -> Evidence:
    """The evidence about the present candidate, metric by metric; none without a candidate."""
    if state.candidate is None:
        return Evidence()
    kept: dict[str, JsonObject] = {}
    verdicts = []
    for name, policy in ticker.policies(deployment).items():
        judgement = _fold(policy, state.evidence.get(name), ticker.newest(deployment, state, name))
        verdicts.append(judgement.verdict)
        if judgement.evidence:
            kept[name] = dict(judgement.evidence)
    split = _fold(SPLIT, state.evidence.get(SPLIT.metric), ticker.split(deployment, state))
    if split.evidence:
        kept[SPLIT.metric] = dict(split.evidence)
    return Evidence(kept, tuple(verdicts), split.verdict if split.evidence else None)


def _fold(policy: Policy, evidence: JsonObject | None, tick: Tick | None) -> Judgement:
    if tick is None:
        return Judgement(evidence or {}, engine.judge(policy, evidence))
    return engine.fold(policy, evidence, tick)
