"""The rules of the CRDs ask for no field of a map that may be missing.

The API server answers such a rule with "no such key" and refuses the resource. The CEL of `serin lint` and of the
simulated API server lets it pass, so only a real one would show it.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import crds

# self, or self and names of fields; what stands before a field's name in a map macro (one.name) is not followed.
CHAIN = re.compile(r"\bself((?:\.[A-Za-z_]\w*)+)(\()?")

Schema = dict[str, Any]


def rules(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, str]]:
    """Path, schema and text of every rule."""
    for one in schema.get("x-kubernetes-validations", ()):
        yield path, schema, one["rule"]
    for name, inner in schema.get("properties", {}).items():
        yield from rules(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from rules(schema[key], f"{path}[]")


def missing(schema: Schema, rule: str) -> list[str]:
    """What a rule reads without asking whether it is there."""
    found = []
    for match in CHAIN.finditer(rule):
        names = match.group(1).split(".")[1:]
        names = names[:-1] if match.group(2) else names  # the last one is a function
        asks = rule[: match.start()].endswith("has(")
        at, chain = schema, "self"
        for name in names[:-1] if asks else names:
            inner = at.get("properties", {}).get(name)
            if inner is None:
                break  # a map with any keys
            chain, there = f"{chain}.{name}", name == "metadata" or "default" in inner or name in at.get("required", ())
            if not there and f"has({chain})" not in rule:
                found.append(chain)
            at = inner
    return found


RULES = [one for kind in crds.FILES for one in rules(crds.schema(kind), kind)]


@pytest.mark.parametrize(("path", "schema", "rule"), RULES, ids=[f"{path}: {rule[:40]}" for path, _, rule in RULES])
def test_a_rule_asks_first_for_what_may_be_missing(path: str, schema: Schema, rule: str) -> None:
    assert missing(schema, rule) == [], path


def test_what_may_be_missing_is_found() -> None:
    inner = {"properties": {"goal": {"properties": {}}}}
    schema = {"required": ["there"], "properties": {"there": inner, "strategy": {"properties": {"abTest": inner}}}}
    assert missing(schema, "!has(self.strategy.abTest) || self.there.goal.x == 1") == [
        "self.strategy",
        "self.there.goal",
    ]
    assert missing(schema, "!has(self.strategy) || !has(self.strategy.abTest) || has(self.strategy.abTest.goal)") == []
