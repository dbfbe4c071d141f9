"""The bytes that exchanges hold beside those that clients wait for: who has how many, and who may have more."""

from collections import Counter
from typing import Final

from serin.guard.shares import has_room, less, namespace_of

# The part of all bytes that one deployment, and that one namespace, may have.
_SHARE: Final = 16
_NAMESPACE_SHARE: Final = 4


class Room:
    """`most`: bytes that all together may hold. Of one namespace, and of one deployment, there is a share."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = Counter[str]()
        self.of_namespace = Counter[str]()

    def take(self, name: str, count: int) -> bool:
        """Hold so many more for a deployment (`namespace/name`), or a namespace; whether that is possible."""
        namespace = namespace_of(name)
        of_one = self._most // (_SHARE if "/" in name else _NAMESPACE_SHARE)
        if self.held[name] + count > of_one or self.of_namespace[namespace] + count > self._most // _NAMESPACE_SHARE:
            return False
        if not has_room(self.of_namespace, namespace, count, self._most):
            return False
        self.held[name] += count
        self.of_namespace[namespace] += count
        return True

    def give_back(self, name: str, count: int) -> None:
        """Hold so many less."""
        less(self.held, name, count)
        less(self.of_namespace, namespace_of(name), count)


class Held:
    """Bytes that are held for `name`, of one exchange."""

    def __init__(self, name: str, room: Room) -> None:
        self._name, self._room, self._count = name, room, 0

    def take(self, count: int) -> bool:
        """Hold so many more; whether that is possible."""
        if not self._room.take(self._name, count):
            return False
        self._count += count
        return True

    def give_back(self) -> None:
        """Hold none any more."""
        self._room.give_back(self._name, self._count)
        self._count = 0
