"""`spec.guard.review`: answers that people look at, and what of them people see.

The guard is shown a share of the answers that clients got. It takes those that the model was not sure of, or any, and
of these what stands at paths that the user has named: nothing else of a payload leaves it. As elsewhere (guard.py) its
settings come with every exchange, as one line of JSON. It gives what it takes to the operator, which keeps it as a
ReviewItem, or sends it to a webhook of the platform's (controller/review_intake.py).

What people say counts as two series of the router's, as whatever else is known of a version.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import LONGEST_WRITTEN, Protocol, one_line, read_line, read_path
from serin.api.guard_keys import Purpose, signature
from serin.api.json import JsonObject

# The metric template of what people say.
REVIEWED_WRONG: Final = "reviewed-wrong"
# Headers of what the operator tells the router: a proof with the snapshot it is about, and what was said of an answer.
KEY: Final = "x-serin-review"
VERDICT: Final = "x-serin-review-verdict"
# Where the operator takes items.
PORT: Final = 18002
# Characters of one field and of all fields of an item. The CRD has the first, a test compares them.
LONGEST_FIELD: Final = 2048
LONGEST_FIELDS: Final = 6144
# Bytes of an item on its way.
LARGEST_ITEM: Final = 64 * 1024
_MOST_LEFT_OUT: Final = 1_000_000_000
_SECONDS: Final = 3600.0


class Verdict(StrEnum):
    """What a person says of an answer."""

    RIGHT = "right"
    WRONG = "wrong"


class Part(StrEnum):
    """What a field is taken of."""

    REQUEST = "Request"
    ANSWER = "Answer"


class Numbers(StrEnum):
    """What the numbers at the path of a confidence are."""

    CLASSES = "Classes"  # each innermost list has those of one row, which is as sure as its highest
    ROWS = "Rows"  # each is the confidence of one row


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the model is, by numbers at `path`: an answer is as sure as its least sure row."""

    path: str
    below: float
    of: Numbers = Numbers.CLASSES


@dataclass(frozen=True, slots=True)
class ReviewGuard:
    """`spec.guard.review`. `confidence`: None: any answer is taken. `share`: of the answers, in percent, looked at.

    `per_hour`: items of one version at most. `request`, `answer`: paths of what is kept. `keep`: items at most, and
    `expires`: seconds for which one is kept. `webhook`: who gets what they have, "": the items themselves.
    """

    protocol: Protocol
    share: int
    per_hour: int
    request: tuple[str, ...]
    answer: tuple[str, ...]
    keep: int
    expires: float
    confidence: Confidence | None = None
    webhook: str = ""

    def named(self, part: Part) -> tuple[str, ...]:
        """The paths of what is kept."""
        return self.request if part is Part.REQUEST else self.answer


@dataclass(frozen=True, slots=True)
class Reviewing:
    """What the guard is told with an answer: whose it is, what is taken, and by what the operator knows it again.

    `pause`: seconds between two items of one version.
    """

    name: str
    protocol: Protocol
    confidence: Confidence | None
    pause: float
    request: tuple[str, ...]
    answer: tuple[str, ...]
    proof: str


@dataclass(frozen=True, slots=True, repr=False)
class Taken:
    """One field of an item: JSON in a text; None: it is too long, or not there."""

    part: Part
    path: str
    value: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Item:
    """What the guard gives the operator. `left_out`: items of the deployment that it could not give since the last."""

    name: str
    proof: str
    snapshot: str
    confidence: float | None
    fields: tuple[Taken, ...]
    left_out: int = 0


def read_review(guard: Field | None) -> ReviewGuard | None:
    """From `spec.guard`, defaults included; None: nobody looks. Raises InvalidSpec."""
    found = guard.get("review") if guard else None
    if found is None:
        return None
    webhook, confidence = found.get("webhook"), found.get("confidence")
    read = ReviewGuard(
        protocol=found["protocol"].one_of(Protocol),
        share=found["share"].value,
        per_hour=found["perHour"].value,
        request=_paths(found.get("request")),
        answer=_paths(found.get("answer")),
        keep=found["keep"].value,
        expires=found["expireAfter"].duration(),
        confidence=_confidence(confidence) if confidence else None,
        webhook=webhook["name"].value if webhook else "",
    )
    if len(write_reviewing(reviewing("n" * 120, "", read))) > LONGEST_WRITTEN:
        raise InvalidSpec(f"{found.path}: the paths are too long together: write shorter ones, or fewer")
    return read


def reviewing(name: str, uid: str, how: ReviewGuard) -> Reviewing:
    """What the guard is told. `name`: namespace/name, `uid`: of the deployment."""
    pause = _SECONDS / how.per_hour
    return Reviewing(name, how.protocol, how.confidence, pause, how.request, how.answer, item_proof(uid))


def item_proof(uid: str) -> str:
    """By which the operator knows an item of the deployment with this uid: nobody else is told of it."""
    return hashlib.sha256(f"serin review item {uid}".encode()).hexdigest()[:32]


def verdict_proof(key: bytes, uid: str) -> str:
    """What the header KEY begins with, so that it was nobody else who wrote it. `key`: of operator and guard."""
    return signature(key, Purpose.VERDICT, uid.encode()) + "/"


def verdict_key(key: bytes, uid: str, snapshot: str) -> str:
    """What the header KEY has."""
    return verdict_proof(key, uid) + snapshot


# ── On its way to the guard ───────────────────────────────────────────────────────────────────────────────────────────


def write_reviewing(one: Reviewing) -> str:
    """As one line of ASCII, without a percent sign."""
    body: JsonObject = {
        "answer": list(one.answer),
        "name": one.name,
        "pause": one.pause,
        "proof": one.proof,
        "protocol": one.protocol,
        "request": list(one.request),
    }
    if one.confidence:
        body["confidence"] = [one.confidence.path, one.confidence.below, one.confidence.of]
    return one_line(body)


def is_reviewing(text: str) -> bool:
    """Whether it was `write_reviewing` that has written this: its first key is no other's."""
    return text.startswith('{"answer":')


def read_written_reviewing(text: str) -> Reviewing:
    """What `write_reviewing` has written. Raises ValueError for anything else."""
    try:
        body = read_line(text, "answer", "confidence", "name", "pause", "proof", "protocol", "request")
        found = body.get("confidence")
        return Reviewing(
            name=body["name"],
            protocol=Protocol(body["protocol"]),
            confidence=Confidence(found[0], float(found[1]), Numbers(found[2])) if found else None,
            pause=float(body["pause"]),
            request=tuple(body["request"]),
            answer=tuple(body["answer"]),
            proof=body["proof"],
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"these are no settings of a guard: {error!r}") from None


# ── On its way to the operator ────────────────────────────────────────────────────────────────────────────────────────


def write_item(item: Item) -> JsonObject:
    """As JSON."""
    return {
        "name": item.name,
        "proof": item.proof,
        "snapshot": item.snapshot,
        "confidence": item.confidence,
        "leftOut": item.left_out,
        "fields": [[one.part, one.path, one.value] for one in item.fields],
    }


def read_item(body: Any) -> Item:
    """What somebody has sent, which may be anything. Raises ValueError."""
    try:
        texts = {key: body[key] for key in ("name", "proof", "snapshot")}
        fields = tuple(Taken(Part(part), path, value) for part, path, value in body["fields"])
        confidence, left_out = body["confidence"], body["leftOut"]
    except (KeyError, TypeError, IndexError, ValueError):
        raise ValueError("this is no item of a review") from None
    if not all(isinstance(one, str) for one in texts.values()) or not _are_texts(fields):
        raise ValueError("this is no item of a review")
    if not (confidence is None or type(confidence) is float) or type(left_out) is not int:
        raise ValueError("this is no item of a review")
    if sum(len(one.value or "") for one in fields) > LONGEST_FIELDS:
        raise ValueError("the fields are too long")
    return Item(confidence=confidence, fields=fields, left_out=min(max(left_out, 0), _MOST_LEFT_OUT), **texts)


def _are_texts(fields: Iterable[Taken]) -> bool:
    return all(
        isinstance(one.path, str)
        and (one.value is None or (isinstance(one.value, str) and len(one.value) <= LONGEST_FIELD))
        for one in fields
    )


def _confidence(field: Field) -> Confidence:
    return Confidence(read_path(field["path"]), field["below"].quantity(), field["of"].one_of(Numbers))


def _paths(field: Field | None) -> tuple[str, ...]:
    return tuple(read_path(one) for one in field.items()) if field else ()
