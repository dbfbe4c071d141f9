"""What `status` and `explain` say of notifications: nothing, unless a receiver does not take them."""

from collections.abc import Iterator

from serin.api.conditions import Reason
from serin.explain.advice import advice
from serin.explain.facts import Facts


def line(facts: Facts) -> str:
    """How many are kept back, and why; "" when every receiver takes them."""
    outbox = facts.state.outbox
    if not outbox.pending or not outbox.problem:
        return ""
    many = len(outbox.pending)
    what = f"A notification waits ({outbox.pending[0].event})" if many == 1 else f"{many} notifications wait"
    return f"{what}: {outbox.problem}"


def sentences(facts: Facts, serin: str) -> Iterator[str]:
    """The same for `explain`, with what one can do."""
    if told := line(facts):
        yield f"{told}."
        yield f"What to do about it: {advice(Reason.NOTIFICATION_WAITS, facts.name, facts.namespace, serin)}"
