"""One process that several jobs scrape: its counters count once, whatever the jobs add to their labels.

An installation that scrapes by annotation and has a PodMonitor too stores every series twice, under another `job` and
with other labels of the scrape. Two targets are the same process when their jobs differ, and their `instance` is the
same or their `pod` in the same `namespace`; unless a label or a port tells them apart.

The series of one counter become one: at each moment the highest value that any of them has shown since the process
last restarted, for no scrape shows more than was counted. So it does not matter which of the jobs missed a scrape, or
ended, and what one collection has counted the next one does not count again.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import permutations

from serin.metrics.answers import Series
from serin.metrics.counting import TIME_TOLERANCE, Target, target_of

Labels = Mapping[str, str]
Counter = tuple[Target, frozenset[tuple[str, str]]]  # a process, and the labels that its own series have
Started = tuple[Series, frozenset[float]]  # a series, and the times of its samples before which it counted from 0


def counters_of(series: Sequence[Series]) -> list[Counter]:
    """For each series, which counter of which process it is: the same for series that show the same one."""
    targets: dict[Target, list[Labels]] = {}
    for one in series:
        targets.setdefault(target_of(one.labels), []).append(one.labels)
    known = {target: (same[0], _added(same, targets)) for same in _processes(targets) for target in same}
    found: list[Counter] = []
    for one in series:
        target = target_of(one.labels)
        process, added = known.get(target, (target, frozenset[str]()))
        found.append((process, frozenset(item for item in one.labels.items() if item[0] not in added)))
    return found


def merge(found: Sequence[Started]) -> list[Started]:
    """The same series, those that show one counter as one, with the labels of the first of their jobs."""
    if len({one.labels.get("job") for one, _ in found}) < 2:
        return list(found)
    groups: dict[Counter, list[Started]] = {}
    for counter, one in zip(counters_of([series for series, _ in found]), found, strict=True):
        groups.setdefault(counter, []).append(one)
    return [each[0] if len(each) == 1 else _merged(each) for each in groups.values()]


def first_of_each(series: Iterable[Series]) -> tuple[Series, ...]:
    """One series of each counter, that of the first job."""
    kept: dict[Counter, Series] = {}
    ordered = sorted(series, key=lambda one: target_of(one.labels))
    for counter, one in zip(counters_of(ordered), ordered, strict=True):
        kept.setdefault(counter, one)
    return tuple(kept.values())


def _processes(targets: Mapping[Target, Sequence[Labels]]) -> list[list[Target]]:
    """Targets that are the same process, where there are several; `targets`: with the labels of their series."""
    places: dict[Hashable, set[Target]] = {}
    for target, all_labels in targets.items():
        places.setdefault(target[1], set()).add(target)
        for labels in all_labels:
            if "pod" in labels:
                places.setdefault((labels.get("namespace"), labels["pod"]), set()).add(target)
    found: dict[Target, list[Target]] = {}
    for same in places.values():
        if 1 < len(same) == len({job for job, _ in same}) and _agree(same, targets):
            joined = sorted({one for target in same for one in found.get(target, [target])})
            found |= dict.fromkeys(joined, joined)
    return list({same[0]: same for same in found.values()}.values())


def _agree(same: Iterable[Target], targets: Mapping[Target, Sequence[Labels]]) -> bool:
    """Whether nothing says that these are different pods, or different containers or ports of one."""
    ports = {port for _, instance in same if (port := instance.rpartition(":")[2]).isdecimal()}
    for name in ("namespace", "pod", "container"):
        said = [{labels[name] for labels in targets[one] if name in labels} for one in same]
        told = [values for values in said if values]
        if told and not set.intersection(*told):
            return False
    return len(ports) < 2


def _added(same: Sequence[Target], targets: Mapping[Target, Sequence[Labels]]) -> frozenset[str]:
    """Names of labels that scrapes of one process have added.

    Such a label has one value in all series of a target, and another one, or none, in those of another target.
    """
    constant = {target: _constant(targets[target]) for target in same}
    known = {target: {name for labels in targets[target] for name in labels} for target in same}
    found = {"job", "instance"}
    for one, other in permutations(same, 2):
        for name, value in constant[one].items():
            if name not in known[other] or constant[other].get(name, value) != value:
                found.add(name)
    return frozenset(found)


def _constant(all_labels: Sequence[Labels]) -> dict[str, str]:
    """Labels that all of them have with the same value."""
    return dict(set.intersection(*(set(labels.items()) for labels in all_labels)))


def _merged(group: Sequence[Started]) -> Started:
    """One series out of several that show the same counter."""
    group = sorted(group, key=lambda one: target_of(one[0].labels))
    samples = sorted(
        (time, place, value)
        for place, (series, _) in enumerate(group)
        for time, value in zip(series.times, series.values, strict=True)
    )
    last: dict[int, tuple[float, float]] = {}  # of each series
    highest, restarted = -math.inf, -math.inf
    times: list[float] = []
    values: list[float] = []
    starts: set[float] = set()
    for time, place, value in samples:
        began = time in group[place][1]
        before, old = last.get(place, (math.inf, math.inf))
        last[place] = time, value
        if not times or time - times[-1] >= TIME_TOLERANCE:
            times.append(time)
            values.append(value)
        # A restart that another series has shown already is the same one.
        restarts = restarted <= before < time and (began or value < old)
        if began and (restarts or len(times) == 1):
            starts.add(times[-1])
        if restarts:
            highest, restarted = value, time
        elif math.isfinite(value):
            highest = max(highest, value)
        values[-1] = highest if math.isfinite(value) else value
    return Series(group[0][0].labels, tuple(times), tuple(values)), frozenset(starts)
