"""Numbers as people read them, for every layer that writes sentences."""


def count(number: float) -> str:
    """A whole number with thousands separated: 7,210."""
    return f"{round(number):,}"
