"""Label selectors as in a query: `a=b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

Labels = Mapping[str, str]
_PART: Final = re.compile(
    r"\s*(?:(?P<none>!)\s*)?(?P<key>[\w./-]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[\w./-]*)|"
    r"\s(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?\s*(?:,|$)"
)


@lru_cache(maxsize=1000)
def matcher(selector: str) -> Callable[[Labels], bool]:
    """Whether labels match. Raises ValueError for what is none of these."""
    tests, at = [], 0
    while at < len(selector):
        part = _PART.match(selector, at)
        if part is None or part.end() == at:
            raise ValueError(f"unable to parse requirement: {selector[at:]!r}")
        tests.append(_test(part))
        at = part.end()
    return lambda labels: all(test(labels) for test in tests)


def _test(part: re.Match[str]) -> Callable[[Labels], bool]:
    key, value = part["key"], part["value"]
    if part["set"]:
        values = {one.strip() for one in part["values"].split(",")}
        if part["set"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if part["op"]:
        if part["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    absent = bool(part["none"])
    return lambda labels: (key in labels) != absent
