"""What a person asks for with an annotation: acted on once per value, and never kept for later."""

from dataclasses import replace
from typing import Final

from serin.api import names
from serin.api.conditions import Reason
from serin.api.text import known_again
from serin.rollout.plan_builder import PlanBuilder

_ONCE: Final = (
    names.ANNOTATION_APPROVE,
    names.ANNOTATION_PROMOTE,
    names.ANNOTATION_ABORT,
    names.ANNOTATION_RETRY,
    names.ANNOTATION_ROLLBACK_TO,
)


def handle(builder: PlanBuilder, annotation: str) -> bool:
    """Take a person's request: True once per value of the annotation."""
    value = builder.seen.deployment.annotations.get(annotation)
    if value is None or builder.state.handled.get(annotation) == known_again(value):
        return False
    builder.state = replace(builder.state, handled={**builder.state.handled, annotation: known_again(value)})
    return True


def handle_leftovers(builder: PlanBuilder) -> None:
    """A request that fits nothing now must not fit something later: take it, and say so. A removed one is forgotten."""
    present = builder.seen.deployment.annotations
    handled = {key: value for key, value in builder.state.handled.items() if key in present and key in _ONCE}
    builder.state = replace(builder.state, handled=handled)
    for annotation in _ONCE:
        if handle(builder, annotation):
            verb = annotation.split("/")[1].replace("-", " ")
            builder.add_event(Reason.NOTHING_TO_DO, f"{annotation} is ignored: there is nothing to {verb}")
