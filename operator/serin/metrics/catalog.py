"""The built-in metric templates: those of model servers, which live here, and those of the router in use.

What is private to a router comes with its templates, as keys that a user's MetricTemplate does not have:

- `presence`: a selector of series that exist as soon as a target knows the version, even before its first request;
- `pods`: the label that tells the pods of a version apart;
- `unchecked`: of a ratio: a selector of counters of requests that could not be judged, and would belong to its total;
- `byPod`: of a histogram: counters of its numbers' sum and of how many they are, with that label;
- `scraped: true`: Prometheus alone has its series: they are not counted by the router's own pods;
- `age`: the name of a gauge of the seconds since the process began, for targets without `process_start_time_seconds`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from serin.api.json import JsonObject
from serin.api.template_files import read_templates
from serin.metrics.enforced import Trust

_MOST_RESOLVED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Catalog:
    """Built-in templates by name, each the same JSON that a MetricTemplate has as its spec.

    `of_routers`: those that read a router's own series. `trust`: which series they, and users' queries, may read.
    `resolved`: what metrics were resolved to, by their identity.
    """

    templates: Mapping[str, JsonObject]
    of_routers: frozenset[str] = frozenset()
    trust: Trust = field(default_factory=Trust)
    resolved: OrderedDict[tuple[int, int, str], tuple[Any, ...]] = field(default_factory=OrderedDict, compare=False)

    def keep(self, key: tuple[int, int, str], found: tuple[Any, ...]) -> None:
        """Remember what a metric was resolved to (sources.py), with the objects whose identities the key has."""
        self.resolved[key] = found
        if len(self.resolved) > _MOST_RESOLVED:
            self.resolved.popitem(last=False)

    @classmethod
    def of(cls, *provided: Mapping[str, JsonObject], trust: Trust | None = None) -> "Catalog":
        """Put the model servers' templates and those of routers together. Raises ValueError for a name twice."""
        found: dict[str, JsonObject] = {}
        for templates in (read_templates("serin.metrics.templates"), *provided):
            if twice := sorted(found.keys() & templates.keys()):
                raise ValueError(f"two built-in templates have the name {twice[0]}")
            found |= templates
        return cls(found, frozenset(name for each in provided for name in each), trust or Trust())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the templates, sorted."""
        return tuple(sorted(self.templates))

    @property
    def scraped(self) -> frozenset[str]:
        """Templates whose series Prometheus alone has."""
        return frozenset(name for name, body in self.templates.items() if body.get("scraped"))

    @property
    def ages(self) -> tuple[str, ...]:
        """Names of all gauges of a process's age, whatever series of such a target a metric reads."""
        return tuple(sorted({body["age"] for body in self.templates.values() if "age" in body}))
