"""Whether a body fits the JSON Schema of its deployment. Pure.

Of what is known of JSON Schema (api/guard_schema.py) one part at most looks at a value, so the cost is bounded by the
values and the dearest part. What is over the bound is not looked at. No message has a value or a name that the schema
has not: it is made of the schema's own path to what is wrong, and never of the library's words.
"""

import json
from functools import lru_cache
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind

from serin.guard.budget import MOST_VALUES, Unchecked

# Values of a body times what one of them can cost, in units of about 25 ns: a tenth of a second.
MOST_WORK: Final = 4_000_000
# The library takes 1 to 3 microseconds to compare two numbers of which one has a fraction.
_NUMBER: Final = 100
_LIMITS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_UNFIT: Final = "it does not fit the schema"
_REASONS: Final = {
    "minimum": "a number is less than {0:g}",
    "maximum": "a number is more than {0:g}",
    "exclusiveMinimum": "a number is not more than {0:g}",
    "exclusiveMaximum": "a number is not less than {0:g}",
    "minItems": "a list has fewer than {0} items",
    "maxItems": "a list has more than {0} items",
    "minLength": "a text has fewer than {0} characters",
    "maxLength": "a text has more than {0} characters",
    "minProperties": "it has fewer than {0} fields",
    "maxProperties": "it has more than {0} fields",
    "enum": "it is none of the values of enum",
    "const": "it is not the value of const",
    "additionalProperties": "it has a field that the schema has not",
}


def misfit(body: Any, schema: str) -> tuple[str, str] | None:
    """The field and the reason, None when it fits. The field is "" for all of it. Raises budget.Unchecked."""
    if not schema:
        return None
    validator, most = _compiled(schema)
    _count(body, most)
    try:
        if validator.is_valid(body):
            return None
    except ValueError as error:
        raise Unchecked("it cannot be compared with the schema") from error
    try:
        validator.validate(body)
    except ValidationError as error:
        missing = error.kind.property if isinstance(error.kind, ValidationErrorKind.Required) else None
        try:
            return _said(json.loads(schema), list(error.schema_path), missing)
        except (LookupError, TypeError):  # the library takes a name such as 00 for a number, and leaves "" out
            return "", _UNFIT
    except ValueError:  # too deep for the library to keep a copy of
        return "", _UNFIT
    return None


@lru_cache(maxsize=128)
def _compiled(schema: str) -> tuple[Draft202012Validator, int]:
    """With the most values that it is compared with. A hundred KiB each at most; nothing is ever fetched."""
    read = json.loads(schema)
    validator = Draft202012Validator(read, offline=True, validate_formats=False)
    return validator, min(MOST_VALUES, MOST_WORK // _dearest(read))


def _dearest(schema: Any) -> int:
    """What one value can cost at most: one part looks at it, and the parts are a tree."""
    parts = [*schema.get("properties", {}).values()]
    parts += [one for key in ("items", "additionalProperties") if isinstance(one := schema.get(key), dict)]
    known = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    numbers = sum(type(one) is int or type(one) is float for one in known) + len(_LIMITS & schema.keys())
    own = len(schema) + len(known) + 2 * (len(schema.get("required", ())) + len(schema.get("properties", ())))
    return max([1 + own + _NUMBER * numbers, *map(_dearest, parts)])


def _count(body: Any, most: int) -> None:
    """Raises Unchecked where there are more values. A body may be deep, so this does not call itself."""
    waiting, left = [body], most - 1
    while waiting:
        one = waiting.pop()
        if type(one) is not list and type(one) is not dict:
            continue
        left -= len(one)
        if left < 0:
            raise Unchecked(f"it has more than {most} values to compare with the schema")
        waiting += one.values() if type(one) is dict else one


def _said(schema: Any, path: list[str | int], missing: str | None) -> tuple[str, str]:
    """`path`: of keywords and names in the schema, down to what is not so."""
    field, at, keyword = "", schema, ""
    steps = iter(path)
    for step in steps:
        keyword, at = str(step), at[step]
        if keyword == "properties":
            name = str(next(steps, ""))
            field, at = _joined(field, name), at[name]
        elif keyword == "items":
            field += "[]"
        elif keyword == "additionalProperties" and at is not False:
            field = _joined(field, "*")
    if missing is not None:
        return _joined(field, missing), "it is missing"
    if keyword == "type":
        return field, f"it is not of the type {' or '.join([at] if isinstance(at, str) else at)}"
    return field, _REASONS.get(keyword, _UNFIT).format(at)


def _joined(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
