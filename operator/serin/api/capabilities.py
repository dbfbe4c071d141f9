"""What a router may be able to do. What a spec needs of it, it must be able to: nothing is ignored in silence."""

from collections.abc import Mapping, Set
from enum import StrEnum

from serin.api.fields import InvalidSpec
from serin.api.split import Split


class Capability(StrEnum):
    """One ability, in words that follow "it cannot"."""

    WEIGHTS = "share out the requests by weights"
    HEADERS = "choose a version by a header"
    COOKIES = "choose a version by a cookie"
    MIRROR = "send copies of requests"
    STICKY = "keep a client with a version"
    SHIELD = "let stable answer what the candidate fails"
    FALLBACK = "answer in the place of every version"
    GUARD = "have requests and answers checked"


Needs = Mapping[Capability, str]
"""What is needed, and the field of the spec that needs it."""


def check(router: str, able: Set[Capability], needs: Needs) -> None:
    """Refuse what the router of this name cannot do. Raises InvalidSpec."""
    for capability, path in needs.items():
        if capability not in able:
            raise InvalidSpec(
                f"{path}: the router {router} (spec.router) cannot {capability}: write another router, or remove this"
            )


def needed_by(split: Split) -> frozenset[Capability]:
    """What a router must be able to do to serve a split as it is."""
    found: set[Capability] = {Capability.WEIGHTS} if len(split.serving()) > 1 else set()
    found |= {Capability.HEADERS for rule in split.rules if rule.headers}
    found |= {Capability.COOKIES for rule in split.rules if rule.cookies}
    found |= {Capability.STICKY} if split.sticky else set()
    found |= {Capability.MIRROR} if split.mirror else set()
    return frozenset(found)
