"""A namespace of its own for each test, with the few verbs that a user has: apply, annotate, look, wait."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from serin.api.names import API_VERSION
from serin.api.times import rfc3339
from tests.cluster.access import Cluster

Json = dict[str, Any]
T = TypeVar("T")

LIMIT = 240.0
"""Seconds that a wait may take; much longer than it takes on a busy machine, because nobody waits for nothing."""


@dataclass(slots=True)
class Shop:
    """One namespace of the test cluster. `applied`: when the newest manifest was applied (RFC 3339, UTC)."""

    cluster: Cluster
    namespace: str
    applied: str = ""

    def kubectl(self, *words: str, body: str | None = None) -> str:
        """Run kubectl in this namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *words, input=body)

    def apply(self, body: Json) -> None:
        """Apply a manifest as `kubectl apply` does."""
        self.applied = rfc3339(time.time())
        self.kubectl("apply", "-f", "-", body=json.dumps(body))

    def annotate(self, name: str, annotation: str) -> None:
        """Set `key=value`, or remove `key-`."""
        self.kubectl("annotate", "md", name, "--overwrite", annotation)

    def get(self, kind: str, name: str) -> Json:
        """One object as JSON."""
        return self.cluster.rest.get(kind, self.namespace, name)

    def items(self, kind: str, selector: str = "") -> list[Json]:
        """Objects of a kind."""
        found: list[Json] = self.cluster.rest.get(kind, self.namespace, selector=selector)["items"]
        return found

    def status(self, name: str) -> Json:
        """The ModelDeployment's status, empty before the first look."""
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/modeldeployments/{name}"
        found: Json = self.cluster.read(path).get("status", {})
        return found

    def address(self, name: str) -> str:
        """ClusterIP of a Service; the one for clients is Serin's to make, so it may come a moment later."""
        words = ["get", "service", name, "--ignore-not-found", "-o", "json"]
        address: str = json.loads(self.until(f"Service {name}", lambda: self.kubectl(*words)))["spec"]["clusterIP"]
        return address

    def record(self, snapshot: str) -> Json:
        """Status of a rejected ModelSnapshot, which is written a moment after the ModelDeployment's."""

        def look() -> Json:
            status: Json = self.get("msnap", snapshot).get("status", {})
            return status if status.get("rejected") else {}

        return self.until(f"record of the rejected {snapshot}", look)

    def until(self, what: str, look: Callable[[], T], seconds: float = LIMIT) -> T:
        """Look until there is something to be seen, and return it."""
        end = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > end:
                raise AssertionError(f"after {seconds:.0f} s there is no {what} in {self.namespace}")
            time.sleep(0.25)
        return found

    def wait_at_rest(self, name: str) -> Json:
        """Wait until nothing is left of any version but the stable one; answers the status."""

        def alone() -> bool:
            stable = self.status(name)["stable"]["snapshot"]
            labels = [pod["metadata"]["labels"].get("serin.dev/snapshot") for pod in self.items("pods")]
            names = [one["metadata"]["name"] for one in self.items("deployments", "serin.dev/model-deployment")]
            return set(labels) == {stable} == set(names)

        self.until("rest", alone)
        return self.wait(name, "at rest", lambda status: not status.get("draining") and not status.get("candidate"))

    def wait(self, name: str, what: str, holds: Callable[[Json], Any], seconds: float = LIMIT) -> Json:
        """Wait until the status holds; otherwise fail with the deployment's whole story."""
        end = time.monotonic() + seconds
        while True:
            status = self.status(name)
            if holds(status):
                return status
            if time.monotonic() > end:
                raise AssertionError(f"after {seconds:.0f} s {name} is not {what}:\n{self.story(name)}")
            time.sleep(0.25)

    def wait_serving(self, name: str, version: str, seconds: float = LIMIT) -> Json:
        """Wait until this model version is stable, alone and ready."""

        def holds(status: Json) -> bool:
            stable = status.get("stable", {})
            return stable.get("model") == version and stable.get("ready", 0) > 0 and not status.get("candidate")

        return self.wait(name, f"serving model {version} alone", holds, seconds)

    def wait_under_traffic(self, name: str) -> Json:
        """Wait until what was applied last has traffic, or had some: a bad version may be rolled back between looks."""
        return self.wait(
            name, "under traffic", lambda one: one.get("step", {}).get("weight") or self._is_rolled_back(one)
        )

    def wait_rolled_back(self, name: str, seconds: float = LIMIT) -> Json:
        """Wait until what was applied last is rolled back; answers lastRollback."""
        rollback: Json = self.wait(name, "rolled back", self._is_rolled_back, seconds)["lastRollback"]
        return rollback

    def _is_rolled_back(self, status: Json) -> bool:
        return bool(not status.get("candidate") and status.get("lastRollback", {}).get("at", "") > self.applied)

    def story(self, name: str) -> str:
        """What a user sees: the columns, the conditions, the Events, the snapshots and the pods."""
        conditions = self.status(name).get("conditions", [])
        told = [f"{one['type']}={one['status']} {one['reason']}: {one['message']}" for one in conditions]
        events = sorted(self.items("events.events.k8s.io"), key=lambda one: one.get("eventTime") or "")
        mine = [one for one in events if one.get("regarding", {}).get("kind") == "ModelDeployment"]
        notes = [f"{one.get('eventTime', '')} {one['type']} {one['reason']}: {one.get('note', '')}" for one in mine]
        parts = [
            self.kubectl("get", "md", name),
            "\n".join(told),
            "\n".join(notes),
            self.kubectl("get", "msnap"),
            self.kubectl("get", "pods", "-o", "wide"),
        ]
        return "\n\n".join(parts)
