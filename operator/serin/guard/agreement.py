"""Whether two versions say the same to the same request. Pure.

Both answers can be anything, so what a comparison costs is bounded (budget.py). What is over the bound, or not to be
found in stable's own answer, is not called a difference: nothing is known then.
"""

import heapq
from collections.abc import Iterator
from typing import Any, Final

from serin.api.guard import compiled
from serin.api.guard_agreement import Comparison, Order, Outcome, Pairing
from serin.guard.budget import NUMBERS, Budget, Search, Unchecked
from serin.guard.checks import root
from serin.guard.payload import NotJson, read_json

# Values of both answers that one comparison looks at: some hundredths of a second.
MOST_COMPARED: Final = 50_000
_ROUNDING: Final = 1e-9  # 0.55 of 20 is a little more than 11


def outcome(stable: tuple[bytes, str], candidate: tuple[bytes, str], pairing: Pairing) -> Outcome:
    """What came of it. Both: the body, and its content-encoding."""
    try:
        ours = read_json(*stable)
    except (NotJson, Unchecked):
        return Outcome.UNREAD
    try:
        return compare(ours, read_json(*candidate), pairing)
    except NotJson:
        return Outcome.MISSING
    except Unchecked:
        return Outcome.UNREAD


def compare(stable: Any, candidate: Any, pairing: Pairing) -> Outcome:
    """The first difference of two answers (JSON), or SAME. Raises budget.Unchecked."""
    budget = Budget(MOST_COMPARED)
    search = Search(budget)
    ours, wrong = root(stable, pairing.protocol, budget)
    if wrong:
        raise Unchecked(wrong)
    theirs, missing = root(candidate, pairing.protocol, budget)
    if missing:
        return Outcome.MISSING
    for one in pairing.compare:
        path = compiled(one.path).parsed
        mine, other = search.visit(path, ours), search.visit(path, theirs)
        if mine is None or mine == []:
            raise Unchecked(f"{one.path}: it is not in the answer")
        if other is None or other == []:
            return Outcome.MISSING
        if difference := next(_differences(mine, other, one, budget), None):
            return difference
    return Outcome.SAME


def _differences(stable: Any, candidate: Any, how: Comparison, budget: Budget) -> Iterator[Outcome]:
    """Of everything that is found at a path, in any order. An answer may be deep, so this does not call itself."""
    waiting = [(stable, candidate)]
    while waiting:
        ours, theirs = waiting.pop()
        if type(ours) is list and type(theirs) is list:
            budget.take(len(ours) + len(theirs) + 1)
            if how.top and list not in map(type, ours):
                yield from _top_differs(ours, theirs, how)
            elif len(ours) != len(theirs):
                yield Outcome.SHAPE
            else:
                waiting += zip(ours, theirs, strict=True)
        elif type(ours) is dict and type(theirs) is dict:
            budget.take(len(ours) + len(theirs) + 1)
            if ours.keys() != theirs.keys():
                yield Outcome.SHAPE
            else:
                waiting += ((ours[key], theirs[key]) for key in ours)
        elif how.top and type(ours) not in (list, dict):
            raise Unchecked(f"{how.path}: it is no list")
        else:
            yield from _value_differs(ours, theirs, how)


def _value_differs(ours: Any, theirs: Any, how: Comparison) -> Iterator[Outcome]:
    if type(ours) in NUMBERS and type(theirs) in NUMBERS:
        allowed = how.tolerance + how.relative * abs(ours)
        if ours != theirs and not abs(ours - theirs) <= allowed:  # so said, as NaN is within nothing
            yield Outcome.NUMBER
    elif type(ours) is not type(theirs):
        yield Outcome.SHAPE if {type(ours), type(theirs)} & {list, dict} else Outcome.TYPE
    elif ours != theirs:
        yield Outcome.LABEL


def _top_differs(ours: list[Any], theirs: list[Any], how: Comparison) -> Iterator[Outcome]:
    mine, other = _best(ours, how), _best(theirs, how)
    if mine is None:
        raise Unchecked(f"{how.path}: stable's is no list that can be ranked")
    if other is None:
        yield Outcome.TYPE
    elif len(mine & other) < how.overlap * max(len(mine), len(other)) - _ROUNDING:
        yield Outcome.TOP


def _best(row: list[Any], how: Comparison) -> frozenset[Any] | None:
    """The best ones of a list, or their places; None where there is no such thing. Of equal numbers the first ones."""
    if how.order is Order.SCORE:
        if not NUMBERS.issuperset(map(type, row)):
            return None
        return frozenset(heapq.nlargest(how.top, range(len(row)), key=row.__getitem__))
    best = row[: how.top]
    return frozenset(best) if all(type(one) in (str, int, float, bool) for one in best) else None
