"""The CEL rules of the CRDs, evaluated without an API server.

cel-python evaluates the language; what Kubernetes adds to it (isQuantity, quantity, isSorted, sum) are the adapters
here. A rule is asked only where the schema has nothing against the value, as the API server does it. Transition rules
(oldSelf) compare with what is stored, so they have no answer here.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, Final

import celpy
from celpy import celtypes
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError

from serin.api.json import JsonObject
from serin.api.units import parse_duration, parse_quantity
from serin.cli.lint.schema import Problem

# Words of CEL that Kubernetes escapes when they are names of fields.
_RESERVED: Final = frozenset({"const", "else", "for", "function", "if", "in", "namespace", "package", "return", "var"})

_TOKEN: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\|\||[()\[\]{}?]""")

_SELF: Final = re.compile(r"\bself\b(?:\.(\w+)\b(?!\())?")  # `self.all(...)` asks self itself


def _is_quantity(value: Any) -> Any:
    try:
        parse_quantity(str(value))
    except ValueError:
        return celtypes.BoolType(False)
    return celtypes.BoolType(True)


def _quantity(value: Any) -> Any:
    return celtypes.DoubleType(parse_quantity(str(value)))


def _duration(value: Any) -> Any:
    """Whole milliseconds instead of CEL's duration: comparable, addable, and exact for what resources can say."""
    return celtypes.IntType(round(parse_duration(str(value)) * 1000))


def _is_sorted(values: Sequence[Any]) -> Any:
    return celtypes.BoolType(all(low <= high for low, high in pairwise(values)))


def _sum(values: Sequence[Any]) -> Any:
    total = celtypes.IntType(0)
    for value in values:
        total += value
    return total


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "isQuantity": _is_quantity,
    "quantity": _quantity,
    "isGreaterThan": lambda one, other: celtypes.BoolType(one > other),
    "isLessThan": lambda one, other: celtypes.BoolType(one < other),
    "duration": _duration,
    "isSorted": _is_sorted,
    "sum": _sum,
}


@cache
def _environment() -> Any:
    return celpy.Environment()


@cache
def _programs(rule: str) -> tuple[Any, ...]:
    """A rule's alternatives: cel-python lets an error inside a macro end all of `a || b`, where CEL asks b."""
    environment = _environment()
    compiled = (environment.compile(one) for one in _alternatives(rule))
    return tuple(environment.program(one, functions=_FUNCTIONS) for one in compiled)


def _alternatives(rule: str) -> list[str]:
    """What stands between the `||` that are in no parentheses and no string; a rule with `?:` is left whole."""
    found, depth, start = [], 0, 0
    for token in _TOKEN.finditer(rule):
        depth += (token[0] in "([{") - (token[0] in ")]}")
        if depth == 0 and token[0] == "?":
            return [rule]
        if depth == 0 and token[0] == "||":
            found.append(rule[start : token.start()])
            start = token.end()
    return [*found, rule[start:]]


def broken(body: JsonObject, part: JsonObject, wrong: frozenset[str]) -> Iterator[Problem]:
    """Rules of the schema `part` that `body` breaks. `wrong`: paths at which the schema had something to say."""
    shown = {key: value for key, value in body.items() if key != "status"}
    yield from _walk(shown, part, "", wrong)


def _walk(value: Any, part: JsonObject, path: str, wrong: frozenset[str]) -> Iterator[Problem]:
    if value is None or path in wrong:
        return
    if not any(one.startswith((f"{path}.", f"{path}[")) or not path for one in wrong):
        for rule in part.get("x-kubernetes-validations", ()):
            if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value, part):
                required = "Required value: " if rule.get("reason") == "FieldValueRequired" else ""
                yield Problem(path + rule.get("fieldPath", ""), required + rule["message"])
    if isinstance(value, dict):
        for name, item in value.items():
            inner = part.get("properties", {}).get(name, part.get("additionalProperties"))
            if inner is not None:
                yield from _walk(item, inner, f"{path}.{name}" if path else str(name), wrong)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, part.get("items", {}), f"{path}[{index}]", wrong)


def _holds(rule: str, value: Any, part: JsonObject) -> bool:
    fields = fields_of(rule)
    if fields is not None and isinstance(value, dict):
        # What a rule does not name takes time to convert, and makes values differ that are one to the rule.
        value = {name: item for name, item in value.items() if not fields.isdisjoint((name, f"__{name}__"))}
    return _is_kept(rule, json.dumps(_escaped(value, part), default=str))


@cache
def fields_of(rule: str) -> frozenset[str] | None:
    """Fields of `self` that a rule names, as it writes them; None for a rule that asks `self` itself."""
    found = frozenset(_SELF.findall(rule))
    return None if "" in found else found


@lru_cache(maxsize=4096)  # resources of one folder have much in common, defaults above all, and CEL is slow here
def _is_kept(rule: str, text: str) -> bool:
    """Whether a value, as JSON, keeps a rule."""
    subject = {"self": json_to_cel(json.loads(text))}
    return any(_is_true(program, subject) for program in _programs(rule))


def _is_true(program: Any, subject: Any) -> bool:
    try:
        return bool(program.evaluate(subject))
    except (CELEvalError, ValueError):
        return False  # the API server refuses what it cannot evaluate, too


def _escaped(value: Any, part: JsonObject) -> Any:
    """The value with fields renamed that CEL could not name; keys of maps are data and stay."""
    if isinstance(value, dict):
        known = part.get("properties", {})
        inner = part.get("additionalProperties", {})
        return {
            (f"__{name}__" if name in _RESERVED and name in known else name): _escaped(item, known.get(name, inner))
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_escaped(item, part.get("items", {})) for item in value]
    return value
