"""What should run: the spec's own content, or what was decided in its place.

That is the winner among the variants that the spec declares; or, when the spec's own content was rolled back, a
combination of it with what was stable. Nothing of that is written into the spec, and another spec ends it.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from serin.api.json import JsonObject
from serin.api.names import DIMENSIONS, snapshot_named
from serin.api.spec import ModelDeploymentSpec
from serin.api.state import Bisection, State

Content = Mapping[str, JsonObject | None]
Value = TypeVar("Value")


def declared(name: str, spec: ModelDeploymentSpec) -> dict[str, Content]:
    """Every version that the spec describes, by snapshot: its own content, then the variants. `name`: of whom."""
    versions = ((spec.hashes, spec.content), *((one.hashes, one.content) for one in spec.variants))
    return {snapshot_named(name, hashes): content for hashes, content in versions}


def versions(name: str, spec: ModelDeploymentSpec, state: State) -> tuple[str, ...]:
    """Snapshots that may serve, the one that is asked for first.

    An experiment that is over has decided between those that were declared, until others are. Of a version that was
    rolled back a combination is tried, or serves, as long as one is left.
    """
    known, ended, search = tuple(declared(name, spec)), state.concluded, bisection(name, spec, state)
    if search and search.present:
        return (search.present.snapshot,)
    return (ended.winner,) if ended and ended.winner and ended.declared == known else known


def bisection(name: str, spec: ModelDeploymentSpec, state: State) -> Bisection | None:
    """The search for what is to blame, as long as the spec is the one that was rolled back and asks for the same."""
    search, own = state.bisection, snapshot_named(name, spec.hashes)
    return search if search and (search.cause.source, search.scope) == (own, spec.rollback.scope) else None


def combined(own: Mapping[str, Value], other: Mapping[str, Value], reverts: Iterable[str]) -> dict[str, Value]:
    """The contents of a version, or their hashes, by dimension, with those in `reverts` from another version."""
    reverted = set(reverts)
    return {one: (other if one in reverted else own)[one] for one in DIMENSIONS}
