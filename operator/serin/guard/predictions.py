"""What one answer says, as places of counters. Pure.

An answer can be anything, so what it costs is bounded (budget.py), and so is what comes of it: as many counters as the
spec has labels and bounds. Nothing of an answer is in it.

Of all the values that an answer has of a field one is drawn. Rows of one answer are often alike, as a client asks for
one user or one batch, and what judges the counters takes what they count for independent: with all rows counted, it
would find a difference between two versions that are the same.
"""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

from serin.api.guard import compiled
from serin.api.guard_record import Recorded, Recording
from serin.guard.budget import NUMBERS, Budget, Search, Unchecked
from serin.guard.checks import lists, root
from serin.guard.inputs import text_of

# Values of one answer: some hundredths of a second.
MOST_RECORDED: Final = 50_000


Draw = Callable[[Sequence[Any]], Any]
"""One of several."""


def predicted(answer: Any, recording: Recording, draw: Draw = random.choice) -> tuple[Counter[int], ...]:
    """For each field the place of the label or bucket that was answered, once; the last one is the rest.

    None of a field without numbers that is counted by bounds. Raises budget.Unchecked.
    """
    budget = Budget(MOST_RECORDED)
    search = Search(budget)
    begin, wrong = root(answer, recording.protocol, budget)
    if wrong:
        raise Unchecked(wrong)
    found = ((one, search.visit(compiled(one.path).parsed, begin)) for one in recording.predictions)
    return tuple(_counted(value, field, budget, draw) for field, value in found)


def _counted(found: Any, field: Recorded, budget: Budget, draw: Draw) -> Counter[int]:
    values = list(chain.from_iterable(lists(found, budget)))
    if field.labels:
        text = text_of(draw(values)) if values else None
        return Counter([field.labels.index(text) if text in field.labels else len(field.labels)])
    numbers = [one for one in values if type(one) in NUMBERS]
    return Counter([bisect_left(field.buckets, draw(numbers))] if numbers else [])
