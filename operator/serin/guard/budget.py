"""What one body may cost to look at, whoever has written it. Pure."""

from typing import Any, Final

from jmespath.visitor import TreeInterpreter

# Values of one body that all checks together come by, on a path or at its end: a tenth of a second.
MOST_VALUES: Final = 200_000


# The types of JSON's numbers, as orjson reads them; true and false are none.
NUMBERS: Final = frozenset({int, float})


class Unchecked(Exception):
    """The body cannot be checked; why, in words."""


class Budget:
    """Values that may still be looked at."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = self.left = most

    def take(self, count: int) -> None:
        """Look at so many. Raises Unchecked."""
        self.left -= count
        if self.left < 0:
            raise Unchecked(f"it has more than {self._most} values to look at")


class Search(TreeInterpreter):  # type: ignore[misc]  # jmespath has no types
    """Follows paths at the cost of a budget: what a path leaves out again is looked at too."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def visit(self, node: Any, value: Any) -> Any:
        """One step of a path, which a projection takes for each of its values."""
        self._budget.take(1)
        return super().visit(node, value)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        """All lists of a list as one."""
        found = super().visit_flatten(node, value)
        self._budget.take(len(found or ()))
        return found
