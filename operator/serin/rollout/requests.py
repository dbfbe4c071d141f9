"""What a person asks for with an annotation: acted on once per value, and never kept for later."""

from dataclasses import replace
from typing import Final

from serin.api import names
from serin.api.conditions import Reason
from serin.rollout.draft import Draft

_ONCE: Final = (
    names.ANNOTATION_APPROVE,
    names.ANNOTATION_PROMOTE,
    names.ANNOTATION_ABORT,
    names.ANNOTATION_RETRY,
    names.ANNOTATION_ROLLBACK_TO,
)


def handle(draft: Draft, annotation: str) -> bool:
    """Take a person's request: True once per value of the annotation."""
    value = draft.seen.deployment.annotations.get(annotation)
    if value is None or draft.state.handled.get(annotation) == value:
        return False
    draft.state = replace(draft.state, handled={**draft.state.handled, annotation: value})
    return True


def handle_leftovers(draft: Draft) -> None:
    """A request that fits nothing now must not fit something later: take it, and say so. A removed one is forgotten."""
    present = draft.seen.deployment.annotations
    handled = {key: value for key, value in draft.state.handled.items() if key in present}
    draft.state = replace(draft.state, handled=handled)
    for annotation in _ONCE:
        if handle(draft, annotation):
            verb = annotation.split("/")[1].replace("-", " ")
            draft.happened(Reason.NOTHING_TO_DO, f"{annotation} is ignored: there is nothing to {verb}")
