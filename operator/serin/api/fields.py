"""Values of a spec that know their path, so that a message can name the field and say what to write instead.

The schema in crds/ has checked types, bounds and everything that CEL can say. A field that the schema guarantees and
that is missing all the same (an object stored before the CRD was updated) is refused, never guessed.
"""

from enum import StrEnum
from typing import Any, TypeVar

from serin.api.units import parse_duration, parse_quantity

_Word = TypeVar("_Word", bound=StrEnum)


class InvalidSpec(ValueError):
    """The spec cannot work. The message is for the user: it names the field and says what to write instead."""


class Field:
    """A value of the spec and its path. Every reading method raises InvalidSpec."""

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def __getitem__(self, key: str) -> "Field":
        found = self.get(key)
        if found is None:
            raise InvalidSpec(
                f"{self.path}.{key} is missing: apply the ModelDeployment again, so that the API server fills in the "
                "defaults of the installed CRD"
            )
        return found

    def get(self, key: str) -> "Field | None":
        """The field of this name, None when it is absent."""
        value = self.value.get(key)
        return None if value is None else Field(value, f"{self.path}.{key}")

    def items(self) -> "list[Field]":
        """The items of a list."""
        return [Field(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def duration(self) -> float:
        """Seconds."""
        try:
            return parse_duration(self.value)
        except ValueError as error:
            raise InvalidSpec(f"{self.path}: {error}") from None

    def quantity(self) -> float:
        """A number that is written as text."""
        try:
            return parse_quantity(self.value)
        except ValueError as error:
            raise InvalidSpec(f"{self.path}: {error}") from None

    def one_of(self, words: type[_Word]) -> _Word:
        """One of an enumeration's words; another version's CRD may have let in one that this one does not know."""
        try:
            return words(self.value)
        except ValueError:
            raise InvalidSpec(f"{self.path}: {self.value!r} is unknown: write one of {', '.join(words)}") from None

    def duration_of(self, key: str) -> float | None:
        """Seconds of an optional field, None when it is absent."""
        found = self.get(key)
        return None if found is None else found.duration()

    def quantity_of(self, key: str) -> float | None:
        """The number of an optional field, None when it is absent."""
        found = self.get(key)
        return None if found is None else found.quantity()
