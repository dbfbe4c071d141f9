"""What Serin has set in an object, and whether the object still has it. What others have added is theirs."""

from typing import Any


def covers(found: Any, wanted: Any) -> bool:
    """Whether `wanted` is in `found`, which may have more: keys in maps, items in lists."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(covers(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        found = [] if found is None else found  # as the API server gives an empty list back
        return isinstance(found, list) and all(any(covers(one, item) for one in found) for item in wanted)
    return bool(found == wanted)
