"""What goes wrong with a request, on purpose.

A plan is asked once for every request of a replica, in their order, and may answer with a fault. So a test names the
request that dies: by its number, by what it asks for, or by chance with a seed.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from serin.cluster.protocol import Kind


class Fault(StrEnum):
    """What happens to one request."""

    DIE_BEFORE = "die before"  # the process ends, the request never arrives
    DIE_AFTER = "die after"  # the request is carried out, the process ends before the answer
    LOST = "lost"  # it is carried out, the answer never comes: time-out
    NEVER_SENT = "never sent"  # it never arrives: time-out
    LATE = "late"  # time-out, and it is carried out long after that
    REFUSED = "refused"  # no connection, at once
    CONFLICT = "409"
    INVALID = "422"
    TOO_MANY = "429"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    TIMEOUT = "504"  # carried out, and the API server gives up waiting for etcd's answer
    FORBIDDEN = "403"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `number` counts those of its replica from 1; `write`: those that may change something, or 0."""

    number: int
    write: int
    replica: str
    verb: str
    kind: Kind
    namespace: str
    name: str
    subresource: str = ""

    def __str__(self) -> str:
        where = "/".join(one for one in (self.namespace, self.name, self.subresource) if one)
        return f"{self.verb} {self.kind.name} {where}"


Plan = Callable[[Request], Fault | None]


def nothing(_request: Request) -> None:
    """No fault at all."""


def at(number: int, fault: Fault, *, writes: bool = True) -> Plan:
    """The fault at one request. `writes`: count writes only."""
    return lambda request: fault if (request.write if writes else request.number) == number else None


def matching(fault: Fault, times: int = 1, **wanted: str) -> Plan:
    """The fault at the first `times` requests with these attributes, for example verb="apply", subresource="status".

    `kind` is the kind's name.
    """
    left = [times]

    def plan(request: Request) -> Fault | None:
        found = {name: getattr(request, name) for name in wanted if name != "kind"}
        fits = all(found[name] == value for name, value in wanted.items() if name != "kind")
        if not fits or wanted.get("kind", request.kind.name) != request.kind.name or left[0] <= 0:
            return None
        left[0] -= 1
        return fault

    return plan


def sometimes(seed: int, share: float, faults: Iterable[Fault]) -> Plan:
    """One of the faults at a share of all requests, the same for the same seed."""
    chance, choices = random.Random(seed), tuple(faults)
    return lambda _request: chance.choice(choices) if chance.random() < share else None


def first_of(*plans: Plan) -> Plan:
    """The fault of the first plan that has one."""

    def plan(request: Request) -> Fault | None:
        return next((fault for one in plans if (fault := one(request)) is not None), None)

    return plan


@dataclass(slots=True)
class Recorder:
    """A plan that writes down every request, and the fault that another plan has for it."""

    plan: Plan = nothing
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Fault | None:
        self.requests.append(request)
        return self.plan(request)
