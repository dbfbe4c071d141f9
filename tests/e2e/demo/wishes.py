"""What the user asks for by environment variables, read once and refused early where it cannot be meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.cluster.errors import ClusterError

YES, NO = ("1", "yes", "true"), ("", "0", "no", "false")


@dataclass(frozen=True, slots=True)
class Wishes:
    """`current`: use the current kubeconfig's cluster. The rest is empty where the demo has to find it by itself."""

    current: bool = False
    keep: bool = False
    image: str = ""
    operator_image: str = ""
    prometheus_url: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Wishes:
        """Read CLUSTER, KEEP, IMAGE, OPERATOR_IMAGE and PROMETHEUS_URL.

        Raises:
            ClusterError: saying what to write instead.
        """
        cluster, keep = environment.get("CLUSTER", ""), environment.get("KEEP", "").lower()
        if cluster not in ("", "current"):
            raise ClusterError(
                f"CLUSTER is {cluster!r}: write CLUSTER=current, or leave it out for a cluster of its own"
            )
        if keep not in YES + NO:
            raise ClusterError(f"KEEP is {keep!r}: write KEEP=1 to keep what the demo made")
        given = {name: environment.get(name.upper(), "") for name in ("image", "operator_image", "prometheus_url")}
        if not cluster and any(given.values()):
            first = next(name.upper() for name, value in given.items() if value)
            raise ClusterError(f"{first} is for CLUSTER=current: the demo's own cluster has all that it needs")
        return cls(current=bool(cluster), keep=keep in YES, **given)
