"""Makes the demo's images available to a cluster: loaded where that is possible, named by the user elsewhere."""

from __future__ import annotations

from pathlib import Path

from tests.cluster import recipes
from tests.cluster.access import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.images import Image, save_image
from tests.cluster.node_cluster import NodeCluster
from tests.e2e.demo.wishes import Wishes
from tests.e2e.models.image import model_image

ARCHIVES = recipes.ROOT / ".serin" / "images"
MODEL_IMAGE = "serin.test/model-server:demo"
"""As the samples name it."""


def provide(cluster: Cluster, wishes: Wishes, *, serin: bool) -> dict[str, str]:
    """Make the model's image available, and with `serin` Serin's own; returns values for the chart.

    Raises:
        ClusterError: naming the images to push, and what to set.
    """
    wanted = {} if wishes.image else {"IMAGE": model_image(tag="demo")}
    values = {}
    if serin and wishes.operator_image:
        values["operator.image"] = wishes.operator_image
    elif serin:
        wanted["OPERATOR_IMAGE"] = operator = recipes.operator_image()
        values["operator.image"] = operator.reference
    if isinstance(cluster, NodeCluster):
        if serin:
            wanted["router"] = router = recipes.envoy_image()
            values["router.image"] = router.reference
        for image in wanted.values():
            cluster.load(image)
    elif wanted:
        _load_archives(cluster, wanted)
    return values


def _load_archives(cluster: Cluster, wanted: dict[str, Image]) -> None:
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    archives = {name: save_image(image, _archive(name)) for name, image in wanted.items()}
    context = cluster.kubectl("config", "current-context").strip()
    if not context.startswith("kind-"):
        raise ClusterError(
            f"the cluster of context {context} has to pull the demo's images from a registry. They are built:\n"
            + "".join(f"  {path}\n" for path in archives.values())
            + "Push them (docker load, tag, push; or skopeo copy oci-archive:FILE docker://NAME), and run\n"
            + f"  make demo CLUSTER=current {' '.join(f'{name}=NAME' for name in wanted)}"
        )
    for path in archives.values():
        cluster.load_image(path)
        path.unlink()


def _archive(name: str) -> Path:
    return ARCHIVES / f"{name.lower().replace('_', '-')}.tar"
