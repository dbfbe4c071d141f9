"""The tensors that a model takes and answers with (its signature), in the Open Inference Protocol's terms.

A user declares one in `spec.features.signature`, a model server says its own, and the ModelSnapshot keeps what is
known. A pod may say anything: what is no signature, or longer than the bounds of the schema, is refused in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from serin.api.json import JsonObject

# Bounds of the schemas; a test compares them.
MOST_TENSORS: Final = 100
MOST_DIMENSIONS: Final = 8
LONGEST_NAME: Final = 128
LONGEST_DATATYPE: Final = 16
_LARGEST: Final = 2**31 - 1


class NoSignature(ValueError):
    """What was said is no signature; why, in words."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape`: sizes of the dimensions, -1 where any size fits."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and answers with."""

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


def declared(features: JsonObject | None) -> Signature | None:
    """The signature in a version's features; None when it declares none."""
    return recorded((features or {}).get("signature"))


def recorded(row: object) -> Signature | None:
    """What a ModelSnapshot has; None for what does not parse."""
    try:
        return read_signature(row)
    except NoSignature:
        return None


def read_signature(body: object) -> Signature:
    """The inputs and outputs of a model's metadata, whatever else it says. Raises NoSignature."""
    if not isinstance(body, dict):
        raise NoSignature("the model's metadata is no map")
    found = Signature(_tensors(body, "inputs"), _tensors(body, "outputs"))
    if not found.inputs and not found.outputs:
        raise NoSignature("the model's metadata has neither inputs nor outputs")
    return found


def write_signature(signature: Signature) -> JsonObject:
    """As JSON."""
    return {"inputs": _rows(signature.inputs), "outputs": _rows(signature.outputs)}


def in_words(tensor: Tensor) -> str:
    """Type and shape: FP32 [-1, 4]."""
    return f"{tensor.datatype} {list(tensor.shape)}"


def _tensors(body: JsonObject, key: str) -> tuple[Tensor, ...]:
    rows = body.get(key) or []
    if not isinstance(rows, list):
        raise NoSignature(f"the {key} of the model's metadata are no list")
    if len(rows) > MOST_TENSORS:
        raise NoSignature(f"the model's metadata has {len(rows)} {key}: more than {MOST_TENSORS} are not compared")
    found = tuple(_tensor(row, key) for row in rows)
    if len({one.name for one in found}) < len(found):
        raise NoSignature(f"two {key} of the model's metadata have the same name")
    return found


def _tensor(row: Any, key: str) -> Tensor:
    name, datatype, shape = (row.get(one) if isinstance(row, dict) else None for one in ("name", "datatype", "shape"))
    if not _is_text(name, LONGEST_NAME) or not _is_text(datatype, LONGEST_DATATYPE) or not _is_shape(shape):
        raise NoSignature(f"one of the {key} of the model's metadata has no valid name, datatype or shape")
    return Tensor(name, datatype, tuple(shape))


def _is_text(value: object, longest: int) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _is_shape(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list) or len(value) > MOST_DIMENSIONS:
        return False
    return all(type(one) is int and -1 <= one <= _LARGEST for one in value)


def _rows(tensors: Sequence[Tensor]) -> list[JsonObject]:
    return [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in tensors]
