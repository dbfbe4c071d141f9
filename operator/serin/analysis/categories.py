"""Counts per category, brought into one order, so that two distributions can be compared.

Unordered categories end with OTHER, the answers that have no name of their own. Buckets of a number are named by their
upper bounds.
"""

from collections.abc import Sequence

import numpy as np

from serin.analysis import text
from serin.analysis.hypergeometric import Floats
from serin.analysis.types import OTHER


def merged(bounds: tuple[str, ...], counts: Floats, shared: tuple[str, ...]) -> Floats:
    """Counts of buckets, over the bounds in `shared` alone."""
    found: Floats = np.diff(counts.cumsum()[[bounds.index(one) for one in shared]], prepend=0.0)
    return found


def sorted_in(known: tuple[str, ...], names: tuple[str, ...], counts: Floats) -> Floats:
    """Counts in the order of `known`, then those of all other names together."""
    places = {name: place for place, name in enumerate(known)}
    found = np.zeros(len(known) + 1)
    for name, count in zip(names, counts, strict=True):
        found[places.get(name, len(known))] += count
    return found


def split_off(counts: Floats, new: Sequence[int]) -> Floats:
    """Entries of their own for `new`, taken out of OTHER, which stays last."""
    return np.concatenate([counts[:-1], np.array(new, dtype=np.float64), [counts[-1] - sum(new)]])


def occupied(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Without the categories that are empty in both: they would count as degrees of freedom."""
    used = one + other > 0.0
    return one[used], other[used]


def most_moved(categories: tuple[str, ...], one: Floats, other: Floats, *, ordered: bool) -> str:
    """The category that contributes most to the PSI, in words; "" when the categories have no names."""
    if not categories:
        return ""
    p, q = (one + 0.5) / (one + 0.5).sum(), (other + 0.5) / (other + 0.5).sum()
    most = int(((p - q) * np.log(p / q)).argmax())
    if ordered:
        last = most == len(categories) - 1
        name = f"over {categories[most - 1]}" if last else f"up to {categories[most]}"
    else:
        name = (*categories, OTHER)[most]
    shares = [text.percent(float(arm[most] / arm.sum())) for arm in (one, other)]
    return f", most in {name or 'answers without the label'}: {shares[0]} against {shares[1]}"
