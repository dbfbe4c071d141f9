"""What a router pod had counted when it was asked itself, and the moments of such readings."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from serin.metrics.readings import Owner, owner_of
from serin.metrics.sources import RouterSource

Labels = frozenset[tuple[str, str]]
Family = tuple[Owner, str]  # whose series, and the counter's name
Place = tuple[str, str]  # namespace and name of a ModelDeployment


@dataclass(frozen=True, slots=True)
class PodReading:
    """What one router pod had counted. `began`: its process; `at`: the reading (both in seconds of our own, monotonic).

    `time`: of the reading, in unix seconds. `address`: what Prometheus calls its instance. `places`: the deployments
    that it was asked for. `values`: by labels, of the series that the pod has.
    """

    address: str
    began: float
    at: float
    time: float
    places: frozenset[Place]
    values: Mapping[Family, Mapping[Labels, float]]

    @property
    def age(self) -> float:
        """Seconds that the process was there, at least; a second more at most."""
        return self.at - self.began


Base = Mapping[str, PodReading]  # what was counted up to a moment, by the name of the router pod


@dataclass(frozen=True, slots=True)
class Begun:
    """What a metric was counted from, and the readings that its evidence ends at."""

    source: RouterSource
    readings: Base


def as_values(series: Iterable[tuple[str, Mapping[str, str], float]]) -> dict[Family, dict[Labels, float]]:
    """Names, labels and values of a pod's series as a PodReading has them."""
    found: dict[Family, dict[Labels, float]] = {}
    for name, labels, value in series:
        found.setdefault((owner_of(labels), name), {})[frozenset(labels.items())] = value
    return found


def stamp(moment: float) -> float:
    """The time of a reading that begins at `moment` (unix seconds): one that no sample of Prometheus' has."""
    return (math.floor(moment * 1000.0) + 0.5) / 1000.0


def is_reading(moment: float) -> bool:
    """Whether a moment is that of a reading."""
    return abs(moment * 1000.0 % 1.0 - 0.5) < 0.25
