"""What pods run beside what their version declares: the first difference, in words."""

from typing import Any

import pytest

from serin.api import names
from serin.api.snapshots import Snapshot
from serin.rollout.model import Digests
from serin.workload.digests import digests

A, B, M, N = (f"sha256:{one * 64}" for one in "abcd")
PINNED, TAGGED = f"registry.test/fraud@{A}", "registry.test/fraud:1"


def version(image: str, *, model: str = "", images: dict[str, str] | None = None, fetch: bool = False) -> Snapshot:
    spec: dict[str, Any] = {"containers": [{"name": "model", "image": image}]}
    if fetch:
        spec["initContainers"] = [{"name": "fetch", "image": "registry.test/fetch:1"}]
    content = {"runtime": {"template": {"spec": spec}}, "model": {"digest": model} if model else None}
    return Snapshot("fraud-b", "uid", "1", 0.0, content, {}, images=images or {})


def pod(name: str, image_id: str, *, told: str | None = None, injected: str = "", ready: bool = True) -> dict[str, Any]:
    statuses = [{"name": "model", "imageID": image_id, "restartCount": 0}]
    if injected:
        statuses.append({"name": "istio-proxy", "imageID": injected, "restartCount": 0})
    status: dict[str, Any] = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": statuses,
    }
    if told is not None:
        ended = {"terminated": {"exitCode": 0, "message": told}}
        status["initContainerStatuses"] = [{"name": "fetch", "imageID": f"registry.test/fetch@{B}", "state": ended}]
    return {"metadata": {"name": name, "uid": name, "labels": {names.LABEL_SNAPSHOT: "fraud-b"}}, "status": status}


def found(snapshot: Snapshot, *pods: dict[str, Any]) -> Digests:
    return digests(pods, snapshot)


def test_what_is_declared_runs() -> None:
    assert found(version(PINNED), pod("p", f"registry.test/fraud@{A}")) == Digests({"model": A})
    # A mirror has another name, and the same digest; an older runtime writes a scheme before it.
    assert found(version(PINNED), pod("p", f"docker-pullable://mirror.test/x/fraud@{A}")) == Digests({"model": A})


def test_another_image_than_the_template_has_is_named() -> None:
    said = found(version(PINNED), pod("p", f"registry.test/fraud@{B}")).differs
    assert said == "container model runs sha256:bbbbbbbbbbbb…, the template has sha256:aaaaaaaaaaaa… (pod p)"


def test_pods_of_one_version_run_one_image() -> None:
    said = found(version(TAGGED), pod("p", f"registry.test/fraud@{A}"), pod("q", f"registry.test/fraud@{B}")).differs
    moved = f"what {TAGGED} names has changed"
    assert said == f"container model runs sha256:{'a' * 12}… in pod p and sha256:{'b' * 12}… in pod q: {moved}"


def test_a_tag_that_has_moved_since_the_version_was_tried_first_is_named() -> None:
    said = found(version(TAGGED, images={"model": A}), pod("p", f"registry.test/fraud@{B}")).differs
    assert "when the version was tried first" in said
    assert found(version(TAGGED, images={"model": A}), pod("p", f"registry.test/fraud@{A}")).differs == ""


def test_what_the_cluster_injects_and_pods_that_are_not_ready_do_not_count() -> None:
    one, other = (pod(name, f"r@{A}", injected=f"proxy@{digest}") for name, digest in (("p", A), ("q", B)))
    late = pod("r", f"r@{B}", ready=False)
    assert found(version(TAGGED), one, other, late) == Digests({"model": A})


@pytest.mark.parametrize("image_id", ["", A, "registry.test/fraud:1"])
def test_an_id_that_is_no_digest_of_a_registry_says_nothing(image_id: str) -> None:
    assert found(version(TAGGED), pod("p", image_id)) == Digests()
    assert found(version(PINNED), pod("p", image_id)).unknown == (
        "pod p does not say by which digest container model was pulled"
    )


def test_an_init_container_says_which_model_it_has_fetched() -> None:
    declares = version(TAGGED, model=M, fetch=True)
    assert found(declares, pod("p", f"r@{A}", told=f"{M}\n")) == Digests({"fetch": B, "model": A})
    said = found(declares, pod("p", f"r@{A}", told=N)).differs
    assert said == f"init container fetch says sha256:{'d' * 12}…, spec.model.digest is sha256:{'c' * 12}… (pod p)"
    injected = version(TAGGED, model=M)
    assert found(injected, pod("p", f"r@{A}", told=N)).differs == "", "it is no container of the template"
    assert "nothing in pod p says the digest of its model" in found(declares, pod("p", f"r@{A}", told="done")).unknown


def test_a_model_that_is_an_image_has_its_digest() -> None:
    assert found(version(TAGGED, model=A), pod("p", f"r@{A}")) == Digests({"model": A})
    both = version(TAGGED, model=A, fetch=True)
    assert found(both, pod("p", f"r@{A}", told=N)).differs == "", "what an init container has fetched is something else"
    assert (
        "let the init container that fetches the model" in found(version(TAGGED, model=M), pod("p", f"r@{A}")).unknown
    )


def test_whatever_a_template_has_is_read() -> None:
    broken = Snapshot("fraud-b", "uid", "1", 0.0, {"runtime": {"template": {"spec": {"containers": ["x"]}}}}, {})
    assert found(broken, pod("p", f"r@{A}")) == Digests()
