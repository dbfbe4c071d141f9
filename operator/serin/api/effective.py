"""What should run: the spec's own content, one of the variants that it declares, or the winner among them."""

from collections.abc import Mapping

from serin.api.json import JsonObject
from serin.api.names import snapshot_named
from serin.api.spec import ModelDeploymentSpec
from serin.api.state import Concluded

Content = Mapping[str, JsonObject | None]


def declared(name: str, spec: ModelDeploymentSpec) -> dict[str, Content]:
    """Every version that the spec describes, by snapshot: its own content, then the variants. `name`: of whom."""
    versions = ((spec.hashes, spec.content), *((one.hashes, one.content) for one in spec.variants))
    return {snapshot_named(name, hashes): content for hashes, content in versions}


def versions(name: str, spec: ModelDeploymentSpec, ended: Concluded | None) -> tuple[str, ...]:
    """Snapshots that may serve, the one that the spec asks for first.

    An experiment that is over has decided between those that were declared, until others are.
    """
    known = tuple(declared(name, spec))
    return (ended.winner,) if ended and ended.winner and ended.declared == known else known
