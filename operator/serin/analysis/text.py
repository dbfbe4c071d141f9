"""Numbers in the sentences of verdicts: as a person would write them."""

import math

from serin.api.text import count as count


def percent(share: float) -> str:
    """A share as a percentage with two significant digits, or one decimal when that is more: 0.034%, 1.0%, 51.3%."""
    value = 100.0 * share
    if value == 0.0:
        return "0%"
    if value >= 0.995:
        return f"{value:.1f}%"
    return f"{value:.{1 - math.floor(math.log10(value))}f}%"


def number(value: float) -> str:
    """Any value in four significant digits at most: 0.323, 12.5, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def factor(ratio: float) -> str:
    """How many times: 0.85, 5.2, 48."""
    if ratio >= 100:
        return count(ratio)
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def times(estimate: float, low: float, high: float) -> str:
    """A ratio with its interval: `5.2 times (3.4 to 7.9)`."""
    return f"{factor(estimate)} times ({factor(low)} to {factor(high)})"


def more(needed: int | None) -> str:
    """The part of a sentence that says what is still missing."""
    if needed is None:
        return "not enough to tell"
    return f"not enough to tell, about {count(needed)} more candidate requests are needed"
