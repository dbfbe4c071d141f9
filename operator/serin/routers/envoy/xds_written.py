"""What replicas tell each other of what is written: the newest split of each deployment that each has seen.

A replica whose watches are silent cannot tell that from an API server that is away, and goes on answering its Envoys
with what it knew last. A peer that has seen a newer version of a deployment knows of a rollback that it has missed. So
every replica asks its peers, and takes from their word what lowers traffic, and nothing else: a version other than
stable gets no more than the peer says, and stable gets the rest. Whatever a peer says, nothing rises by it but the
version that a rollback goes back to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from serin.api.json import JsonObject
from serin.api.split import Mirror, Split, read_split, write_split
from serin.cluster.protocol import is_newer


@dataclass(frozen=True, slots=True)
class Written:
    """The split that was written for one deployment. `version`: the resource version of the deployment."""

    uid: str
    version: str
    split: Split

    def is_news_about(self, body: JsonObject) -> bool:
        """Whether this is of a later version of the very deployment that `body` is."""
        metadata = body["metadata"]
        return self.uid == metadata["uid"] and is_newer(self.version, metadata["resourceVersion"])

    def told(self) -> JsonObject:
        """As JSON."""
        return {"uid": self.uid, "version": self.version, "split": write_split(self.split)}


def read_written(told: Mapping[str, object]) -> Written:
    """The inverse. Raises KeyError and ValueError."""
    return Written(str(told["uid"]), str(told["version"]), read_split(told["split"]))


def lower(split: Split, stable: str | None, newer: Split, before: str | None = None) -> Split:
    """`split` with no more for any snapshot but `stable` than `newer` gives it, copies too; stable gets what is left.

    Nothing is lowered when `newer` gives stable nothing: another version is stable there, this one may have no pods.
    `before`: the version that was stable before and has its pods still, as long as the promotion is watched. That it is
    given everything is a rollback.
    """
    if before is not None and newer.is_all_to(before):
        return newer
    if stable is None or not newer.of(stable):
        return split
    weights = {name: min(weight, newer.of(name)) for name, weight in split.weights.items() if name != stable}
    weights = {name: weight for name, weight in weights.items() if weight}
    rules = tuple(rule for rule in split.rules if rule.snapshot == stable or rule in newer.rules)
    weights[stable] = 100 - sum(weights.values())
    return replace(split, weights=weights, rules=rules, mirror=_fewer(split.mirror, newer.mirror))


def _fewer(mirror: Mirror | None, newer: Mirror | None) -> Mirror | None:
    """The mirror with the smaller share of copies; none when they are not of the same snapshot."""
    if mirror is None or newer is None or mirror.snapshot != newer.snapshot:
        return None
    return min(mirror, newer, key=lambda one: one.percent)
