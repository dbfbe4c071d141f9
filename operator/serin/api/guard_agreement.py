"""`spec.guard.agreement`: whether a candidate answers the same requests as stable does.

The guard is shown a share of the requests and stable's answers, sends each of these requests to the candidate itself,
and compares. As elsewhere (guard.py) it keeps no settings: they come with every exchange, as one line of JSON.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import LONGEST_WRITTEN, Protocol, one_line, read_path

# Headers of what the guard sends to the router: the key that proves it with the snapshot it is for, and what came of a
# comparison.
KEY: Final = "x-serin-agreement"
OUTCOME: Final = "x-serin-agreement-outcome"
# The metric template of what they say.
DISAGREEMENTS: Final = "disagreements"


class Order(StrEnum):
    """What the best ones of a list are."""

    POSITION = "Position"  # its first ones: a ranking
    SCORE = "Score"  # the places of its highest numbers


class Outcome(StrEnum):
    """What came of one comparison."""

    SAME = "same"
    MISSING = "missing"  # the candidate's answer is no JSON, or has nothing at a path
    SHAPE = "shape"  # more, fewer or other fields and values
    TYPE = "type"  # a text in the place of a number
    LABEL = "label"
    NUMBER = "number"
    TOP = "top"
    UNREAD = "unread"  # one of both cannot be looked at, so nothing is known


DIFFERENCES: Final = (
    *(Outcome.MISSING, Outcome.SHAPE, Outcome.TYPE),
    *(Outcome.LABEL, Outcome.NUMBER, Outcome.TOP),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared at `path`. Texts, true and false are equal or not.

    Numbers may be apart by `tolerance`, and by `relative` times stable's. `top`: of each list only the best ones, of
    which a share of `overlap` is in both; 0: all of it.
    """

    path: str
    tolerance: float = 0.0
    relative: float = 0.0
    top: int = 0
    order: Order = Order.POSITION
    overlap: float = 1.0


@dataclass(frozen=True, slots=True)
class AgreementGuard:
    """`spec.guard.agreement`. `share`: of the requests, in percent, that are sent to the candidate too."""

    protocol: Protocol
    compare: tuple[Comparison, ...]
    share: int


@dataclass(frozen=True, slots=True)
class Pairing:
    """What the guard is told with a request: how to compare, and how the router is asked for the candidate.

    `port`: of the router, for clients of the deployment `name`. `key`: the value of the header KEY, which leads to the
    candidate. `stable`, `candidate`: snapshots. `seconds`: after which the router gives up.
    """

    protocol: Protocol
    compare: tuple[Comparison, ...]
    name: str
    port: int
    key: str
    stable: str
    candidate: str
    seconds: float


def read_agreement(guard: Field | None) -> AgreementGuard | None:
    """From `spec.guard`, defaults included; None: nothing is compared. Raises InvalidSpec."""
    found = guard.get("agreement") if guard else None
    if found is None:
        return None
    read = AgreementGuard(
        protocol=found["protocol"].one_of(Protocol),
        compare=tuple(_comparison(one) for one in found["compare"].items()),
        share=found["share"].value,
    )
    if len(one_line({"compare": [asdict(one) for one in read.compare]})) > LONGEST_WRITTEN // 2:
        raise InvalidSpec(f"{found.path}: the paths are too long together: write shorter ones, or fewer")
    return read


def proof_of(uid: str) -> str:
    """Of a deployment's uid: what the header KEY begins with, so that it was not a client who wrote it."""
    return hashlib.sha256(f"serin agreement {uid}".encode()).hexdigest()[:32] + "/"


def key_of(uid: str, snapshot: str) -> str:
    """What the header KEY has."""
    return proof_of(uid) + snapshot


def write_pairing(pairing: Pairing) -> str:
    """As one line of ASCII, without a percent sign."""
    return one_line(asdict(pairing))


def is_pairing(text: str) -> bool:
    """Whether it was `write_pairing` that has written this: its first key is no other's."""
    return text.startswith('{"candidate":')


def read_written_pairing(text: str) -> Pairing:
    """What `write_pairing` has written. Raises ValueError for anything else."""
    try:
        body = json.loads(text)
        compare = tuple(Comparison(**{**row, "order": Order(row["order"])}) for row in body["compare"])
        return Pairing(**{**body, "protocol": Protocol(body["protocol"]), "compare": compare})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are no settings of a guard: {error!r}") from None


def _comparison(field: Field) -> Comparison:
    order, overlap = field.get("order"), field.quantity_of("overlap")
    return Comparison(
        path=read_path(field["path"]),
        tolerance=field.quantity_of("tolerance") or 0.0,
        relative=field.quantity_of("relativeTolerance") or 0.0,
        top=field.value.get("topK") or 0,
        order=order.one_of(Order) if order else Order.POSITION,
        overlap=1.0 if overlap is None else overlap,
    )
