"""A version that takes another input than stable, or has another model than it declares, gets no request at all.

Both answer: its pods are ready. MLServer says the signature of its model, and the kubelet what an init container that
has fetched a model wrote as its last word, and by which digest it pulled an image.
"""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from tests.cluster.images import Image
from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.models.image import model_image
from tests.e2e.models.train import trained
from tests.e2e.shop import Shop
from tests.e2e.test_golden_probes import STEPS
from tests.e2e.traffic import Traffic

REQUIRED = {"signature": "Required", "digest": "Required"}
# What the image has instead of a bucket: the init container reads the model that the server will read.
FETCH = (
    "import hashlib, os, pathlib; version = os.environ['SERIN_MODEL_VERSION']; "
    "model = pathlib.Path('/app/models', f'{version}.onnx').read_bytes(); "
    "pathlib.Path('/dev/termination-log').write_text('sha256:' + hashlib.sha256(model).hexdigest())"
)


def digest(version: str) -> str:
    """Of a trained model."""
    return f"sha256:{hashlib.sha256((trained() / f'{version}.onnx').read_bytes()).hexdigest()}"


def pull(serin: Installation, image: Image) -> str:
    """Let the node have an image as if it had pulled it: by its name, and by the digest of that. Answers the latter."""
    name = f"{image.reference.rpartition(':')[0]}@{image.digest}"
    for reference in (image.reference, name):
        serin.cluster.load(replace(image, reference=reference))
    return name


def fetching(image: str) -> dict[str, Any]:
    """The template of the model server, with an init container that says which model it has found."""
    template: dict[str, Any] = fraud(image, "1")["spec"]["template"]
    [server] = template["spec"]["containers"]
    resources = {"requests": {"cpu": "200m", "memory": "64Mi"}}
    fetch = {"name": "fetch", "image": server["image"], "imagePullPolicy": "IfNotPresent", "resources": resources}
    template["spec"]["initContainers"] = [fetch | {"command": ["python3", "-c", FETCH]}]
    return template


@pytest.mark.timeout(900)
def test_a_version_that_takes_another_input_than_stable_answers_nobody(
    shop: Shop, version: Apply, traffic: Traffic
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", config={"other-input": "true"}, steps=STEPS, metrics=[ERRORS], integrity=REQUIRED)
    rollback = shop.wait_rolled_back(NAME)
    summary = traffic.stop()
    print(f"{rollback['message']}\n{summary}")
    assert (rollback["reason"], rollback["to"]) == ("SignatureIncompatible", stable)
    assert rollback["message"] == "input features is FP64 [-1, 30], stable has FP32 [-1, 30]"
    assert set(summary.snapshots) == {stable}
    assert summary.failures == 0

    def signatures() -> list[Any]:
        """Of both, once they are there: snapshots are written after the status."""
        found = [shop.get("msnap", one)["status"].get("signature") for one in (stable, rollback["from"])]
        return found if all(found) else []

    recorded = shop.until("signature on both snapshots", signatures)
    assert [one["inputs"][0]["datatype"] for one in recorded] == ["FP32", "FP64"]


@pytest.mark.timeout(900)
def test_a_version_with_another_model_than_it_declares_answers_nobody(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    """Then the same with the digest of its model, which is promoted; the image is written by its own digest."""
    image = model_image()
    stable, template = shop.status(NAME)["stable"]["snapshot"], fetching(pull(serin, image))
    checks = {"template": template, "steps": STEPS, "metrics": [ERRORS], "integrity": REQUIRED}
    version("2", model={"name": NAME, "version": "2", "digest": digest("3")}, **checks)
    rollback = shop.wait_rolled_back(NAME)
    print(rollback["message"])
    assert (rollback["reason"], rollback["to"]) == ("DigestMismatch", stable)
    told, declared = digest("2")[:19], digest("3")[:19]
    assert rollback["message"].startswith(
        f"init container fetch says {told}…, spec.model.digest is {declared}… (pod {rollback['from']}"
    )
    assert set(traffic.summary().snapshots) == {stable}
    version("2", model={"name": NAME, "version": "2", "digest": digest("2")}, **checks)
    serving = shop.wait_serving(NAME, "2")["stable"]["snapshot"]
    assert shop.get("msnap", serving)["status"]["images"] == dict.fromkeys(("fetch", "model"), image.digest)


@pytest.mark.timeout(900)
def test_a_tag_that_moves_in_mid_rollout_is_another_version(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    """A pod that comes up later runs what the tag names by then, as the kubelet of a new node pulls it."""
    stable = shop.status(NAME)["stable"]["snapshot"]
    first, second = model_image("moves", "1"), model_image("moves", "2")
    pull(serin, first)
    template = fraud(first.reference, "1")["spec"]["template"]
    steps = ({"weight": 20, "bake": "5m"},)
    version("2", template=template, steps=steps, metrics=[ERRORS], integrity={"digest": "Required"})
    candidate = shop.wait_under_traffic(NAME)["candidate"]["snapshot"]
    pull(serin, second)
    pod = shop.items("pod", f"serin.dev/snapshot={candidate}")[0]["metadata"]["name"]
    shop.kubectl("delete", "pod", pod, "--wait=false")
    rollback = shop.wait_rolled_back(NAME)
    summary = traffic.stop()
    print(f"{rollback['message']}\n{summary}")
    assert (rollback["reason"], rollback["from"], rollback["to"]) == ("DigestMismatch", candidate, stable)
    assert f"what {first.reference} names has changed" in rollback["message"]
    assert all(one.digest[:19] in rollback["message"] for one in (first, second))
    assert summary.failures == 0
