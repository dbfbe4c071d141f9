"""What Serin has set in an object, and whether the object still has it. What others have added is theirs."""

from typing import Any

from serin.api.json import JsonObject


def covers(found: Any, wanted: Any) -> bool:
    """Whether `wanted` is in `found`, which may have more: keys in maps, items in lists."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(covers(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        found = [] if found is None else found  # as the API server gives an empty list back
        return isinstance(found, list) and all(any(covers(one, item) for one in found) for item in wanted)
    return bool(found == wanted)


def without_template(body: JsonObject) -> JsonObject:
    """A Deployment without its size and pod template, which have rules of their own."""
    spec = {key: value for key, value in body["spec"].items() if key not in ("replicas", "template")}
    return {**body, "spec": spec}
