"""Which pods are asked golden probes and the model's signature, and where."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from serin.api import names
from serin.api.integrity import GoldenProbe
from serin.api.json import JsonObject
from serin.api.serving import Serving, read_serving
from serin.api.snapshots import Snapshot
from serin.workload.asking import NoAnswer
from serin.workload.pods import is_ready
from serin.workload.profiles import inference, metadata


@dataclass(frozen=True, slots=True)
class Address:
    """Where a probe is asked."""

    address: str
    port: int
    path: str


def pods_to_ask(pods: Iterable[JsonObject], snapshot: str) -> Iterator[tuple[tuple[str, int], JsonObject]]:
    """The ready pods of a snapshot; each with its key, which changes when one of its containers restarts."""
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        if labels.get(names.LABEL_SNAPSHOT) == snapshot and is_ready(pod):
            containers = (pod.get("status") or {}).get("containerStatuses") or ()
            yield (pod["metadata"]["uid"], sum(int(one.get("restartCount", 0)) for one in containers)), pod


def address_of(pod: JsonObject, snapshot: Snapshot, probe: GoldenProbe) -> Address:
    """Where a pod is asked: at its own address, as its version is spoken to. Raises NoAnswer and InvalidSpec."""
    where = inference(*_spoken_to(snapshot))
    path = probe.path or where.path
    if not path:
        raise NoAnswer("the runtime has no path of its own: write the path of the golden probe")
    return Address(_ip(pod), where.port, path)


def metadata_of(pod: JsonObject, snapshot: Snapshot) -> Address | None:
    """Where a pod says its model's signature; None when its runtime cannot. Raises NoAnswer and InvalidSpec."""
    where = metadata(*_spoken_to(snapshot))
    return None if where is None else Address(_ip(pod), where.port, where.path)


def _spoken_to(snapshot: Snapshot) -> tuple[str, str, int, Serving]:
    runtime, model = snapshot.content.get("runtime") or {}, snapshot.content.get("model") or {}
    return str(runtime["runtime"]), str(model.get("name", "")), int(runtime["port"]), read_serving(runtime)


def _ip(pod: JsonObject) -> str:
    """A pod's address. Whoever may write its status could name Serin's own machine, or its cloud's. Raises NoAnswer."""
    address = str((pod.get("status") or {}).get("podIP", ""))
    try:
        found = ip_address(address)
    except ValueError:
        raise NoAnswer("the pod has no address") from None
    found = getattr(found, "ipv4_mapped", None) or found  # ::ffff:127.0.0.1 is 127.0.0.1
    if found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast:
        raise NoAnswer(f"{address} is no address of a pod")
    return address
