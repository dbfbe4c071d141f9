"""The CEL rules of the CRDs on every write, with ratcheting and transition rules (oldSelf).

Each rule is evaluated by serin.cli.lint.rules, which `serin lint` uses too, one at a time. A part of an object that is
equal to what is stored is not asked about: the real server drops the errors of such parts, unless the rule compares
with oldSelf; here such a rule may only be `self == oldSelf`, which holds then. Verdicts are remembered by rule and
value, because stories write the same specs again and again.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from serin.api.json import JsonObject
from serin.cli.lint import rules
from tests.simulation.api import status
from tests.simulation.api.status import FieldError
from tests.simulation.api.structural import NOTHING, by_key, key_of

_ONLY_METADATA: Final = re.compile(r"\bself\b(?!\.metadata\b)")
_TRANSITION: Final = "self == oldSelf"


@dataclass(frozen=True, slots=True, eq=False)
class _Rule:
    """One rule, and the schema of a body `{at: value}` that has it and no other."""

    rule: JsonObject
    schema: JsonObject
    transition: bool
    only_metadata: bool


class Rules:
    """All rules of one CRD."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._rules: dict[int, list[_Rule]] = {}
        self._has: dict[int, bool] = {}
        self._collect(schema)
        self._verdict = lru_cache(maxsize=20_000)(self._evaluate)

    def _collect(self, part: JsonObject) -> bool:
        """Prepare the rules of a part; whether it or anything below has any."""
        found = part.get("x-kubernetes-validations", ())
        bare = _bare(part) if found else {}
        self._rules[id(part)] = [_prepared(rule, bare) for rule in found]
        inner = [*part.get("properties", {}).values()]
        inner += [part[name] for name in ("additionalProperties", "items") if isinstance(part.get(name), dict)]
        below = [self._collect(one) for one in inner]
        self._has[id(part)] = bool(found) or any(below)
        return self._has[id(part)]

    def broken(self, body: JsonObject, old: JsonObject | None) -> list[FieldError]:
        """The rules that a write breaks. `old`: what is stored; None: the object is new."""
        return list(self._walk(body, NOTHING if old is None else old, self._schema, ""))

    def _walk(self, value: Any, old: Any, part: JsonObject, path: str) -> Iterator[FieldError]:
        if value is None or not self._has[id(part)] or (old is not NOTHING and value == old):
            return
        for rule in self._rules[id(part)]:
            if rule.transition and old is NOTHING:
                continue
            if not self._holds(rule, value, old):
                yield _error(rule.rule, value, path)
        if isinstance(value, dict):
            known, other = part.get("properties", {}), part.get("additionalProperties")
            before = old if isinstance(old, dict) else {}
            for name, item in value.items():
                if name in known:
                    yield from self._walk(item, before.get(name, NOTHING), known[name], f"{path}.{name}".lstrip("."))
                elif other:
                    yield from self._walk(item, before.get(name, NOTHING), other, f"{path}[{name}]")
        elif isinstance(value, list):
            earlier = by_key(part, old)
            for index, item in enumerate(value):
                same = earlier.get(key_of(part, item), NOTHING)
                yield from self._walk(item, same, part["items"], f"{path}[{index}]")

    def _holds(self, rule: _Rule, value: Any, old: Any) -> bool:
        if rule.transition:
            return bool(value == old)
        if rule.only_metadata:
            value = {"metadata": {"name": value["metadata"]["name"]}}
        return self._verdict(rule, json.dumps(value, sort_keys=True))

    def _evaluate(self, rule: _Rule, text: str) -> bool:
        body = {"at": json.loads(text)}
        return not list(rules.broken(body, rule.schema, frozenset()))


def _prepared(rule: JsonObject, bare: JsonObject) -> _Rule:
    text = str(rule["rule"])
    transition = "oldSelf" in text
    if transition and text != _TRANSITION:
        raise NotImplementedError(f"the simulation knows one transition rule, {_TRANSITION}, and not: {text}")
    schema = {"properties": {"at": {**bare, "x-kubernetes-validations": [rule]}}}
    return _Rule(rule, schema, transition, not _ONLY_METADATA.search(text))


def _bare(part: JsonObject) -> JsonObject:
    """The schema without any rule: it says only which names are fields."""
    bare = {key: value for key, value in part.items() if key not in ("x-kubernetes-validations", "default")}
    if "properties" in part:
        bare["properties"] = {name: _bare(inner) for name, inner in part["properties"].items()}
    for name in ("additionalProperties", "items"):
        if isinstance(part.get(name), dict):
            bare[name] = _bare(part[name])
    return bare


def _error(rule: JsonObject, value: Any, path: str) -> FieldError:
    where = (path + rule.get("fieldPath", "")).lstrip(".")
    words = rule["message"].strip()
    if rule.get("reason") == "FieldValueRequired":
        return FieldError(where, status.REQUIRED, words)
    if rule.get("reason") not in (None, "FieldValueInvalid"):
        raise NotImplementedError(f"the simulation does not know the reason {rule['reason']} of a rule")
    return FieldError(where, status.INVALID, words, ... if isinstance(value, (dict, list)) else value)
