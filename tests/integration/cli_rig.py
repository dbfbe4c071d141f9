"""What the command line's tests share: verbs run here or as commands, and real statuses in a cluster."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from kubernetes.client import AuthorizationV1Api
from kubernetes.config import new_client_from_config

from serin.api import names
from serin.api.json import JsonObject
from serin.api.times import parse_rfc3339, rfc3339
from serin.cli.app import main
from tests.integration.operator_process import Cluster
from tests.narratives.film import Frame
from tests.unit.explain.frames import first_of_each_state

_MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


class Serin:
    """The command line with one namespace of one cluster."""

    def __init__(self, cluster: Cluster, kubeconfig: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.cluster, self.kubeconfig, self._capture = cluster, kubeconfig, capture

    def __call__(self, *words: str, namespace: bool = True) -> Ran:
        """Run a verb in this process: what it prints goes where a pipe would."""
        where = ["-n", self.cluster.shop] if namespace else []
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words, *where, "--kubeconfig", str(self.kubeconfig)])
        told = self._capture.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)

    def command(self, *words: str, **environment: str) -> Ran:
        """Run a verb as a user's shell does."""
        full = {**os.environ, "KUBECONFIG": str(self.kubeconfig), **environment}
        command = [sys.executable, "-m", "serin", *words]
        done = subprocess.run(command, env=full, capture_output=True, text=True, timeout=180, check=False)
        return Ran(done.returncode, done.stdout, done.stderr)


def await_right(kubeconfig: Path, account: str, **attributes: str) -> None:
    """Wait until the API server allows it to a ServiceAccount ("namespace:name"): it learns of new roles by a watch."""
    api = AuthorizationV1Api(new_client_from_config(str(kubeconfig)))
    body = {"spec": {"user": f"system:serviceaccount:{account}", "resourceAttributes": attributes}}
    end = time.monotonic() + 60.0
    while not api.create_subject_access_review(body).status.allowed:
        assert time.monotonic() < end, f"{account} is not allowed {attributes}"
        time.sleep(0.05)


@cache
def every_state() -> dict[str, Frame]:
    """One frame for each phase and reason that the stories lead to. All of them are played for that."""
    return {state: frame for state, (_, frame) in first_of_each_state().items()}


def put(cluster: Cluster, frame: Frame | str) -> JsonObject:
    """Bring a deployment of a real cluster into the frame's state, its times moved to now; returns it as stored.

    A text is the phase and reason of every_state().
    """
    frame = every_state()[frame] if isinstance(frame, str) else frame
    cluster.clear("md", "msnap")
    ahead = time.time() - frame.now
    metadata = {"name": frame.facts.name, "annotations": frame.body["metadata"]["annotations"]}
    body = {"apiVersion": names.API_VERSION, "kind": names.MODEL_DEPLOYMENT, "metadata": metadata}
    made, statuses = [{**body, "spec": frame.body["spec"]}], []
    status = moved(frame.body["status"], ahead) | {"observedGeneration": 1}
    statuses.append(_status(names.MODEL_DEPLOYMENT, frame.facts.name, status))
    for one in frame.snapshots:
        plain = {key: one[key] for key in ("apiVersion", "kind", "spec")}
        about = {key: one["metadata"][key] for key in ("name", "labels")}
        made.append({**plain, "metadata": about})
        if one["status"]:
            statuses.append(_status(names.MODEL_SNAPSHOT, about["name"], moved(one["status"], ahead)))
    for one in made:
        cluster.create(one)
    for one in statuses:
        cluster.apply_status(one)
    return cluster.read("md", frame.facts.name)


def write_status(cluster: Cluster, kind: str, name: str, status: JsonObject) -> None:
    """As the operator writes it."""
    cluster.apply_status(_status(kind, name, status))


def _status(kind: str, name: str, status: JsonObject) -> JsonObject:
    # What the stories' router keeps is left out: it is none of those that the schema knows.
    known = {key: value for key, value in status.items() if key != "router"}
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "status": known}


def moved(value: JsonObject, seconds: float) -> JsonObject:
    """A copy in which every time is that much later."""

    def walk(one: object) -> object:
        if isinstance(one, dict):
            return {key: walk(item) for key, item in one.items()}
        if isinstance(one, list):
            return [walk(item) for item in one]
        return rfc3339(parse_rfc3339(one) + seconds) if isinstance(one, str) and _MOMENT.match(one) else one

    copied: JsonObject = json.loads(json.dumps(walk(value)))
    return copied
