"""A traffic split: which snapshot answers which requests. What every router is asked for, and reports.

Rules come first: a request that a rule matches goes where the rule says. All others are shared out by the weights: by
chance, or by a hash of their user when the split is sticky. A mirror sends copies beside that: it changes nobody's
answer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from serin.api.json import JsonObject

_COOKIE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests with all of these headers and cookies go to `snapshot`.

    Values are compared whole; names of headers are in lower case. `preview`: these are requests of people who try the
    snapshot. Nothing else answers in its place, and nobody judges it by them.
    """

    snapshot: str
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    preview: bool = False

    def __post_init__(self) -> None:
        if not self.headers and not self.cookies:
            raise ValueError(f"a rule needs a header or a cookie, or it takes every request: {self.snapshot}")


@dataclass(frozen=True, slots=True)
class Sticky:
    """A user stays with a snapshot: `header` (in lower case) or `cookie` says who it is; exactly one of them is set.

    The user's hash, with `salt`, is compared with a threshold: the more weight a snapshot that is not stable gets, the
    more users move to it, and none away from it. Requests without the key go to stable. `ttl`: seconds for which a
    cookie is kept that the router gives to a client that has none. `arms`: snapshots that share the users with stable.
    Each has a part of its own of all hashes, as large as the others', so that no change of one of them moves the users
    of another; one that is gone keeps its part, whose users are stable's.
    """

    header: str = ""
    cookie: str = ""
    ttl: int = 0
    salt: str = ""
    arms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.header) == bool(self.cookie):
            raise ValueError(f"sticky needs a header or a cookie, and not both: {self}")
        if self.cookie and not _COOKIE_NAME.fullmatch(self.cookie):
            raise ValueError(f"the name of a cookie has letters, digits, - and _, got {self.cookie!r}")


@dataclass(frozen=True, slots=True)
class Mirror:
    """Copies of `percent` of the requests that stable answers go to `snapshot`. Its answers to them reach nobody."""

    snapshot: str
    percent: int

    def __post_init__(self) -> None:
        if not 1 <= self.percent <= 100:
            raise ValueError(f"a mirror copies 1 to 100 percent of the requests, got {self.percent}")


@dataclass(frozen=True, slots=True)
class Split:
    """Weights in whole percent per snapshot name, the rules that come before them, and who gets copies.

    The weights sum to 100, or there are none: nothing can serve yet. `sticky`: how users keep their snapshot.
    Raises ValueError on anything else, so that a wrong split cannot be carried any further.
    """

    weights: Mapping[str, int]
    rules: tuple[Rule, ...] = ()
    sticky: Sticky | None = None
    mirror: Mirror | None = None

    def __post_init__(self) -> None:
        negative = {name: weight for name, weight in self.weights.items() if weight < 0}
        total = sum(self.weights.values())
        if negative or total not in (0, 100):
            raise ValueError(f"a split's weights are 0 or more and sum to 100, got {dict(self.weights)} (sum {total})")
        if (self.rules or self.mirror) and not total:
            raise ValueError("a split with rules or a mirror has weights too: somebody answers the other requests")

    def of(self, snapshot: str) -> int:
        """Weight of one snapshot in percent of the requests that no rule matches, 0 when it has none."""
        return self.weights.get(snapshot, 0)

    def serving(self) -> tuple[str, ...]:
        """Names of the snapshots that have a weight, sorted."""
        return tuple(sorted(name for name, weight in self.weights.items() if weight))

    def reached(self) -> tuple[str, ...]:
        """Names of the snapshots that requests can reach, by weight, by rule or as copies, sorted."""
        copied = {self.mirror.snapshot} if self.mirror else set()
        return tuple(sorted({*self.serving(), *(rule.snapshot for rule in self.rules), *copied}))

    def turns(self, stable: str | None) -> tuple[tuple[int, str], ...]:
        """Who answers from which part of all requests: up to this percent, this snapshot. Stable takes the rest."""
        if self.sticky is not None and stable is not None and self._has_parts(stable, self.sticky.arms):
            return self._parts(stable, self.sticky.arms)
        order = sorted(self.serving(), key=lambda snapshot: (snapshot == stable, snapshot))
        return tuple((sum(self.of(one) for one in order[: place + 1]), name) for place, name in enumerate(order))

    def _has_parts(self, stable: str, arms: tuple[str, ...]) -> bool:
        known = {stable, *arms}.issuperset(self.serving())
        return len(arms) > 1 and known and all(self.of(arm) <= 100 // len(arms) for arm in arms)

    def _parts(self, stable: str, arms: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
        """Each arm from the beginning of its part on, and stable up to its end."""
        found: list[tuple[int, str]] = []
        for place, arm in enumerate(arms):
            begin, end = (100 * one // len(arms) for one in (place, place + 1))
            if self.of(arm):
                found.append((begin + self.of(arm), arm))
            if begin + self.of(arm) < end:
                found.append((end, stable))
        return tuple(found)

    def has_clients(self, snapshot: str) -> bool:
        """Whether clients are sent to a snapshot, beside people who try it."""
        return self.of(snapshot) > 0 or any(one.snapshot == snapshot and not one.preview for one in self.rules)

    def is_asked(self, snapshot: str) -> bool:
        """Whether a snapshot is sent requests that it is judged by: clients', or copies of theirs."""
        return self.has_clients(snapshot) or (self.mirror is not None and self.mirror.snapshot == snapshot)

    def is_all_to(self, snapshot: str) -> bool:
        """Whether every request goes to this snapshot, and to no other."""
        return self.of(snapshot) == 100 and self.reached() == (snapshot,)


NOWHERE = Split({})


def all_to(snapshot: str) -> Split:
    """Every request to one snapshot."""
    return Split({snapshot: 100})


def between(stable: str, candidate: str, weight: int) -> Split:
    """`weight` percent to the candidate, the rest to stable."""
    if 0 < weight < 100:
        return Split({stable: 100 - weight, candidate: weight})
    return all_to(candidate if weight else stable)


def lowered(split: Split, shares: Mapping[str, int], stable: str) -> Split:
    """With no more than these percents for these snapshots; what they lose goes to stable."""
    less = {name: min(split.of(name), share) for name, share in shares.items()}
    weights = {**split.weights, **less}
    weights[stable] = 100 - sum(weight for name, weight in weights.items() if name != stable)
    rules = tuple(rule for rule in split.rules if less.get(rule.snapshot) != 0)
    mirror = split.mirror if split.mirror and less.get(split.mirror.snapshot) != 0 else None
    return Split({name: weight for name, weight in weights.items() if weight}, rules, split.sticky, mirror)


def write_split(split: Split) -> JsonObject:
    """As JSON."""
    found: JsonObject = {"weights": dict(split.weights)}
    if split.rules:
        found["rules"] = [_write_rule(rule) for rule in split.rules]
    if split.sticky:
        found["sticky"] = _write_sticky(split.sticky)
    if split.mirror:
        found["mirror"] = {"snapshot": split.mirror.snapshot, "percent": split.mirror.percent}
    return found


def read_split(body: Any) -> Split:
    """The inverse. Raises ValueError for what is no split."""
    try:
        weights = {str(name): int(weight) for name, weight in body["weights"].items()}
        sticky, mirror = body.get("sticky"), body.get("mirror")
        return Split(
            weights,
            tuple(map(_read_rule, body.get("rules") or ())),
            None if sticky is None else _read_sticky(sticky),
            None if mirror is None else Mirror(str(mirror["snapshot"]), int(mirror["percent"])),
        )
    # No map, no list, a part is missing, a number that is infinite.
    except (AttributeError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"no split: {error!r}") from None


def _write_rule(rule: Rule) -> JsonObject:
    parts: JsonObject = {"headers": dict(rule.headers), "cookies": dict(rule.cookies), "preview": rule.preview}
    return {"snapshot": rule.snapshot, **{key: value for key, value in parts.items() if value}}


def _read_rule(row: Any) -> Rule:
    headers, cookies = (
        {str(name): str(value) for name, value in (row.get(key) or {}).items()} for key in ("headers", "cookies")
    )
    return Rule(str(row["snapshot"]), headers, cookies, preview=row.get("preview") is True)


def _write_sticky(sticky: Sticky) -> JsonObject:
    parts: JsonObject = {"header": sticky.header, "cookie": sticky.cookie, "ttl": sticky.ttl, "salt": sticky.salt}
    parts["arms"] = list(sticky.arms)
    return {key: value for key, value in parts.items() if value}


def _read_sticky(row: Any) -> Sticky:
    header, cookie, salt = (str(row.get(key) or "") for key in ("header", "cookie", "salt"))
    return Sticky(header, cookie, int(row.get("ttl") or 0), salt, tuple(map(str, row.get("arms") or ())))
