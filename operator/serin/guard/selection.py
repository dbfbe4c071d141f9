"""Which answers people look at, and what of them. Pure.

Whatever a client or a model has written costs a bounded time (budget.py), and what is taken is bounded in characters:
what is too long is left out whole, as a part of it would be something that nobody has said.
"""

from typing import Any, Final

import orjson

from serin.api.guard import Protocol, compiled
from serin.api.guard_review import LONGEST_FIELD, LONGEST_FIELDS, Numbers, Part, Reviewing, Taken
from serin.guard.budget import NUMBERS, Budget, Search, Unchecked
from serin.guard.checks import lists, root
from serin.guard.payload import NotJson, read_json

# Values of a request and its answer together: some hundredths of a second.
MOST_LOOKED_AT: Final = 50_000
_ASKED: Final = {Protocol.KSERVE_V1: "instances", Protocol.OPEN_INFERENCE: "inputs"}


def selected(
    request: bytes, encoding: str, answer: tuple[bytes, str], how: Reviewing
) -> tuple[float | None, tuple[Taken, ...]] | None:
    """Confidence and fields of an answer that people look at; None: they do not, or it cannot be looked at.

    `request`: its body, with its content-encoding. `answer`: both, of the answer.
    """
    budget = Budget(MOST_LOOKED_AT)
    try:
        begin, wrong = root(read_json(*answer), how.protocol, budget)
        if wrong:
            return None
        sure = confidence(begin, how, budget)
        if how.confidence and (sure is None or sure >= how.confidence.below):
            return None
        asked = _asked(read_json(request, encoding), how.protocol, budget) if how.request else None
        return sure, _fields(((Part.REQUEST, how.request, asked), (Part.ANSWER, how.answer, begin)), budget)
    except (NotJson, Unchecked):
        return None


def confidence(begin: Any, how: Reviewing, budget: Budget) -> float | None:
    """How sure the model is of its least sure row; None where nothing is asked or to be found. Raises Unchecked."""
    if how.confidence is None:
        return None
    found = Search(budget).visit(compiled(how.confidence.path).parsed, begin)
    if found is None:
        return None
    of_row = max if how.confidence.of is Numbers.CLASSES else min
    rows = ([one for one in row if type(one) in NUMBERS] for row in lists(found, budget))
    return min((float(of_row(row)) for row in rows if row), default=None)


def _asked(request: Any, protocol: Protocol, budget: Budget) -> Any:
    """What the paths of requests begin at: the tensors by name, or the list of instances, or the whole request."""
    name = _ASKED.get(protocol)
    if name is None:
        return request
    found = request.get(name) if isinstance(request, dict) else None
    if protocol is Protocol.KSERVE_V1 or not isinstance(found, list):
        return found
    budget.take(len(found))
    return {one["name"]: one.get("data") for one in found if isinstance(one, dict) and isinstance(one.get("name"), str)}


def _fields(parts: tuple[tuple[Part, tuple[str, ...], Any], ...], budget: Budget) -> tuple[Taken, ...]:
    room, taken = LONGEST_FIELDS, list[Taken]()
    for part, paths, begin in parts:
        for path in paths:
            value = _written(Search(budget).visit(compiled(path).parsed, begin), budget)
            if value is not None and len(value) > room:
                value = None
            room -= len(value or "")
            taken.append(Taken(part, path, value))
    return tuple(taken)


def _written(found: Any, budget: Budget) -> str | None:
    """As JSON; None: there is nothing, or more than may be."""
    if found is None:
        return None
    for _ in lists(found, budget):
        pass  # what it costs to write
    try:
        text = orjson.dumps(found).decode()
    except orjson.JSONEncodeError:  # nested more deeply than it writes
        return None
    return text if len(text) <= LONGEST_FIELD else None
