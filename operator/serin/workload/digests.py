"""What the pods of a version run, by digest, beside what the version declares.

Kubernetes says which image each container runs (`imageID`). It does not know what a model server has loaded, so a
digest of the model can be compared in two ways: an image has it (the model is an image, of a container or an init
container), or an init container that has fetched the model says it, in its termination message.

Only containers of the version's own template count: what a cluster injects is no part of the version.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from serin.api.json import JsonObject
from serin.api.snapshots import Snapshot
from serin.rollout.model import Digests
from serin.workload.golden import pods_to_ask

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
# Characters of a digest that messages have.
_SHOWN: Final = 19


@dataclass(frozen=True, slots=True)
class _Pod:
    """What a pod says. `running`: the digest of each container's image; `told`: what init containers have written."""

    name: str
    running: Mapping[str, str]
    told: tuple[tuple[str, str], ...]


def digests(pods: Iterable[JsonObject], snapshot: Snapshot) -> Digests:
    """What the ready pods of a version run, and how that first differs from what it should be."""
    template = (snapshot.content.get("runtime") or {}).get("template") or {}
    images, declared = _images(template.get("spec") or {}), _declared(snapshot)
    ready = [_read(pod, images) for _, pod in pods_to_ask(pods, snapshot.name)]
    differs = _first_image(ready, images, snapshot.images) or _first_model(ready, declared)
    found = {name: digest for one in reversed(ready) for name, digest in one.running.items()}
    return Digests({name: found[name] for name in images if name in found}, differs, _unknown(ready, images, declared))


def _images(spec: JsonObject) -> dict[str, str]:
    """The images of a pod's containers, as they are written, by container."""
    containers = [one for key in ("initContainers", "containers") for one in spec.get(key) or ()]
    return {str(one.get("name", "")): str(one.get("image", "")) for one in containers if isinstance(one, dict)}


def _read(pod: JsonObject, images: Mapping[str, str]) -> _Pod:
    return _Pod(pod["metadata"]["name"], _running(pod, images), tuple(_told(pod, images)))


def _first_image(ready: Sequence[_Pod], images: Mapping[str, str], recorded: Mapping[str, str]) -> str:
    """The first container that runs another image than it should; "" when none does."""
    first: dict[str, tuple[str, str]] = {}
    for pod in ready:
        called = pod.name
        for name, digest in pod.running.items():
            written = _digest_of(images[name])
            if written and digest != written:
                return f"container {name} runs {_cut(digest)}, the template has {_cut(written)} (pod {called})"
            if name in recorded and digest != recorded[name]:
                what = f"it ran {_cut(recorded[name])} when the version was tried first"
                return f"container {name} runs {_cut(digest)}, and {what}: {_moved(images[name])} (pod {called})"
            other, there = first.setdefault(name, (called, digest))
            if digest != there:
                both = f"{_cut(there)} in pod {other} and {_cut(digest)} in pod {called}"
                return f"container {name} runs {both}: {_moved(images[name])}"
    return ""


def _moved(image: str) -> str:
    return f"what {image} names has changed"


def _first_model(ready: Sequence[_Pod], declared: str) -> str:
    """The first pod that has another model than the version declares; "" when none is known to."""
    for pod in ready if declared else ():
        if declared in pod.running.values():
            continue
        for name, told in pod.told:
            if told != declared:
                said = f"init container {name} says {_cut(told)}"
                return f"{said}, spec.model.digest is {_cut(declared)} (pod {pod.name})"
    return ""


def _unknown(ready: Sequence[_Pod], images: Mapping[str, str], declared: str) -> str:
    """The first pod of which nobody can say what it runs; "" when there is none."""
    for pod in ready:
        pinned = next((name for name in images if _digest_of(images[name]) and name not in pod.running), None)
        if pinned:
            return f"pod {pod.name} does not say by which digest container {pinned} was pulled"
        if declared and declared not in pod.running.values() and not pod.told:
            return (
                f"nothing in pod {pod.name} says the digest of its model: let the init container that fetches the "
                "model write it to /dev/termination-log, as sha256:..., or leave out spec.model.digest"
            )
    return ""


def _declared(snapshot: Snapshot) -> str:
    return str((snapshot.content.get("model") or {}).get("digest", ""))


def _running(pod: JsonObject, images: Mapping[str, str]) -> dict[str, str]:
    """The digest of each container's image, where the pod says by which it was pulled."""
    found = {}
    for status in _statuses(pod, "initContainerStatuses", "containerStatuses"):
        name, digest = str(status.get("name", "")), _digest_of(str(status.get("imageID", "")))
        if name in images and digest:
            found[name] = digest
    return found


def _told(pod: JsonObject, images: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The digests that init containers have written as their last word, by container."""
    for status in _statuses(pod, "initContainerStatuses"):
        ended = (status.get("state") or {}).get("terminated") or {}
        message = str(ended.get("message", "")).strip()
        if status.get("name") in images and _DIGEST.fullmatch(message):
            yield str(status["name"]), message


def _statuses(pod: JsonObject, *keys: str) -> list[JsonObject]:
    return [one for key in keys for one in (pod.get("status") or {}).get(key) or ()]


def _digest_of(image: str) -> str:
    """The digest in a reference to an image, "" when it has none. An ID without a name is no digest of a registry."""
    name, at, digest = image.rpartition("@")
    return digest if name and at and _DIGEST.fullmatch(digest) else ""


def _cut(digest: str) -> str:
    """Enough of a digest to tell it from others."""
    return f"{digest[:_SHOWN]}…"
