"""Maps and lists that refuse to change: the watches share their objects with every reader, and nobody copies them.

Every story of the system is played on such objects, so whoever writes into one fails a look.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn
from unittest.mock import patch

from serin.api.json import JsonObject
from serin.cluster import cache
from serin.cluster.protocol import Kind

_OF_MAPS: Final = ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update")
_OF_LISTS: Final = (
    *("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "clear", "extend"),
    *("insert", "pop", "remove", "reverse", "sort"),
)


class Changed(Exception):
    """Something tried to change what everybody reads."""


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(self: Any, *arguments: object, **_: object) -> NoReturn:
        raise Changed(f"{name}{arguments!r} of {str(self)[:200]}")

    return refuse


class _Thawed:
    """A copy is its own, and may be changed."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return thaw(self)

    def __copy__(self) -> Any:
        return dict(self) if isinstance(self, dict) else list(self)  # type: ignore[call-overload]


class FrozenMap(_Thawed, dict[str, Any]):
    """A map of JSON."""


class FrozenList(_Thawed, list[Any]):
    """A list of JSON."""


for _name in _OF_MAPS:
    setattr(FrozenMap, _name, _refuse(_name))
for _name in _OF_LISTS:
    setattr(FrozenList, _name, _refuse(_name))


def freeze(value: Any) -> Any:
    """The same JSON, unchangeable to its depth."""
    if isinstance(value, dict):
        return FrozenMap({key: freeze(one) for key, one in value.items()})
    return FrozenList(map(freeze, value)) if isinstance(value, list) else value


def thaw(value: Any) -> Any:
    """The same JSON as anybody may change it."""
    if isinstance(value, dict):
        return {key: thaw(one) for key, one in value.items()}
    return [thaw(one) for one in value] if isinstance(value, list) else copy.copy(value)


@contextmanager
def unchangeable() -> Iterator[None]:
    """Within it, every object that a cache takes in refuses to change."""
    plain = cache.trim

    def trim(kind: Kind, body: JsonObject) -> JsonObject:
        frozen: JsonObject = freeze(plain(kind, body))
        return frozen

    with patch.object(cache, "trim", trim):
        yield
