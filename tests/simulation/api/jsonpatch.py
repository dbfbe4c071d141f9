"""JSON patches (RFC 6902: add, remove, replace, test) and merge patches (RFC 7386)."""

import json
from typing import Any

from serin.api.json import JsonObject
from tests.simulation.api.status import ApiError


def merge(value: Any, patch: Any) -> Any:
    """`value` changed by a merge patch; null takes a field away."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, item in patch.items():
        if item is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), item)
    return merged


def apply(body: JsonObject, operations: list[JsonObject]) -> JsonObject:
    """`body` changed by a JSON patch, in place. Raises ApiError 422 where it does not fit."""
    for one in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in one["path"].split("/")[1:]]
        target: Any = body
        for part in way:
            target = _inner(target, part, one)
        if one["op"] == "test":
            if _inner(target, last, one) != one["value"]:
                raise _refused(f"testing value {one['path']} failed: test failed")
        elif isinstance(target, list):
            _change_list(target, last, one)
        else:
            if one["op"] in ("remove", "replace") and last not in target:
                raise _missing(one)
            if one["op"] == "remove":
                del target[last]
            else:
                target[last] = json.loads(json.dumps(one["value"]))
    return body


def _inner(target: Any, part: str, operation: JsonObject) -> Any:
    try:
        return target[int(part)] if isinstance(target, list) else target[part]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise _missing(operation) from error


def _change_list(target: list[Any], last: str, operation: JsonObject) -> None:
    index = len(target) if last == "-" else int(last)
    if operation["op"] == "add":
        target.insert(index, operation["value"])
    elif index >= len(target):
        raise _missing(operation)
    elif operation["op"] == "remove":
        del target[index]
    else:
        target[index] = operation["value"]


def _missing(operation: JsonObject) -> ApiError:
    path, name = operation["path"], operation["op"]
    return _refused(f"{name} operation does not apply: doc is missing path: {path}: missing value")


def _refused(words: str) -> ApiError:
    return ApiError(422, "Invalid", f"the server rejected our request due to an error in our request: {words}")
