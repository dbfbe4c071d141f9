"""A namespace of its own for each test, with the few verbs that a user has: apply, annotate, look, wait."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serin.api.times import rfc3339
from tests.cluster.access import Cluster

Json = dict[str, Any]


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
        found: Json = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def items(self, kind: str, selector: str = "") -> list[Json]:
        """Objects of a kind."""
        words = ["--selector", selector] if selector else []
        found: list[Json] = json.loads(self.kubectl("get", kind, *words, "-o", "json"))["items"]
        return found

    def status(self, name: str) -> Json:
        """The ModelDeployment's status, empty before the first look."""
        found: Json = self.get("md", name).get("status", {})
        return found

    def address(self, name: str) -> str:
        """ClusterIP of the clients' Service."""
        address: str = self.get("service", name)["spec"]["clusterIP"]
        return address

    def wait(self, name: str, what: str, holds: Callable[[Json], Any], seconds: float = 120.0) -> Json:
        """Wait until the status holds; otherwise fail with the deployment's whole story."""
        end = time.monotonic() + seconds
        while True:
            status = self.status(name)
            if holds(status):
                return status
            if time.monotonic() > end:
                raise AssertionError(f"after {seconds:.0f} s {name} is not {what}:\n{self.story(name)}")
            time.sleep(0.25)

    def wait_serving(self, name: str, version: str, seconds: float = 180.0) -> Json:
        """Wait until this model version is stable, alone and ready."""

        def holds(status: Json) -> bool:
            stable = status.get("stable", {})
            return stable.get("model") == version and stable.get("ready", 0) > 0 and not status.get("candidate")

        return self.wait(name, f"serving model {version} alone", holds, seconds)

    def wait_rolled_back(self, name: str, seconds: float = 120.0) -> Json:
        """Wait until what was applied last is rolled back; answers lastRollback."""

        def holds(status: Json) -> bool:
            return bool(not status.get("candidate") and status.get("lastRollback", {}).get("at", "") > self.applied)

        rollback: Json = self.wait(name, "rolled back", holds, seconds)["lastRollback"]
        return rollback

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
