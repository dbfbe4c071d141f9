"""Whether a tensor has the shape that it should have. Pure."""

import math
from typing import Any

from serin.guard.budget import Budget


def wrong_shape(shape: Any, wanted: tuple[int, ...], values: int, budget: Budget) -> str:
    """What is wrong with a tensor's shape, in words that have nothing of it; "" when nothing is.

    `wanted`: sizes, -1 where any fits. `values`: how many the tensor has. Raises budget.Unchecked.
    """
    budget.take(len(shape) if isinstance(shape, list) else 0)
    if not isinstance(shape, list) or not all(type(one) is int and one >= 0 for one in shape):
        return "it has no valid shape"
    fits = len(shape) == len(wanted) and all(size in (-1, one) for one, size in zip(shape, wanted, strict=True))
    if not fits:
        return f"its shape is not {list(wanted)}"
    return "" if math.prod(shape) == values else "it has not as many values as its shape says"
