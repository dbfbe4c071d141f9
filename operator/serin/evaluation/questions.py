"""What a metric asks. Evidence of another question is of no use: it begins anew when somebody edits the metric.

Each metric's evidence says what it was asked. Evidence of before that was written down counts as the same.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from serin.api.json import JsonObject
from serin.api.names import content_hash
from serin.api.spec import Metric, ValueQuery, query_of
from serin.api.state import Rollout

_ASKED: Final = "asked"
_TEMPLATE: Final = "/"


def question_of(metric: Metric, template: JsonObject | None = None) -> str:
    """What a metric asks in a rollout, as a hash. `template`: the spec of the user's MetricTemplate that it names.

    How much a breach matters, and what is asked only after the promotion, are no part of it.
    """
    source, tolerance = metric.source, metric.tolerance
    value = (source.minimum, source.maximum, source.consecutive_seconds) if isinstance(source, ValueQuery) else ()
    asked = (
        *(query_of(source), metric.against, metric.limit, metric.lower_is_worse, tolerance.ratio, tolerance.least),
        *(metric.by, metric.slice_requests, *value),
    )
    own = _hash_of(asked)
    return own if template is None else f"{own}{_TEMPLATE}{content_hash(template)}"


@lru_cache(4096)
def _hash_of(asked: tuple[object, ...]) -> str:
    """The hash of what is asked again at every look."""
    return content_hash([None if part is None else str(part) for part in asked])


def still_asked(evidence: Mapping[str, JsonObject], questions: Mapping[str, str]) -> Mapping[str, JsonObject]:
    """The evidence of questions that are still asked, by metric; one that is not known counts as asked."""
    return {name: one for name, one in evidence.items() if is_same(one.get(_ASKED), questions.get(name, ""))}


def rollout_as_asked(rollout: Rollout, questions: Mapping[str, str]) -> Rollout:
    """A rollout with the evidence of questions that are still asked."""
    arms = (replace(arm, evidence=still_asked(arm.evidence, questions)) for arm in rollout.arms)
    return replace(rollout, arms=tuple(arms), evidence=still_asked(rollout.evidence, questions))


def with_questions(evidence: Mapping[str, JsonObject], questions: Mapping[str, str]) -> dict[str, JsonObject]:
    """Evidence to keep, by metric, each with what it was asked."""
    return {name: _with_question(one, questions.get(name, "")) for name, one in evidence.items()}


def _with_question(evidence: JsonObject, asked: str) -> JsonObject:
    known = evidence.get(_ASKED)
    # While a template is gone the evidence remembers which one it was: another may come back.
    fuller = asked if _TEMPLATE in asked or not (known and isinstance(known, str)) else known
    return {**evidence, _ASKED: fuller} if fuller else evidence


def is_same(kept: object, asked: str) -> bool:
    """Whether two questions are the same, or one of them is not known. A template that is gone counts as the same."""
    if not isinstance(kept, str) or not kept or not asked:
        return True
    (own, _, template), (own_now, _, template_now) = kept.partition(_TEMPLATE), asked.partition(_TEMPLATE)
    return own == own_now and (not template or not template_now or template == template_now)
