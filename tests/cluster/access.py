"""What a test may do with any cluster, whoever started it: find its addresses and run kubectl."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from tests.cluster import binaries
from tests.cluster.errors import ClusterError, Unavailable
from tests.cluster.rest import Rest


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a client that reads no kubeconfig gets in: URL and PEM texts (None where the kubeconfig has no such)."""

    server: str
    authority: str | None
    certificate: str | None
    key: str | None
    token: str | None


class KubectlFailed(ClusterError):
    """kubectl ended with an error; `stderr` is what it said."""

    def __init__(self, command: list[str], status: int, stderr: str, more: str = "") -> None:
        self.status = status
        self.stderr = stderr
        super().__init__(f"`{' '.join(command)}` ended with exit status {status}: {stderr.strip()}{more}")


class Cluster:
    """A cluster that tests use: one started here, or (this class itself) any other, by its kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    @property
    def client(self) -> ClientSettings:
        """The kubeconfig's current cluster and user."""
        view = json.loads(self.kubectl("config", "view", "--minify", "--flatten", "--raw", "-o", "json"))
        cluster, user = view["clusters"][0]["cluster"], view["users"][0]["user"]
        return ClientSettings(
            cluster["server"],
            _text(cluster, "certificate-authority-data"),
            _text(user, "client-certificate-data"),
            _text(user, "client-key-data"),
            user.get("token"),
        )

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 120.0) -> str:
        """Run kubectl as the administrator and return what it prints.

        Raises:
            KubectlFailed: with its error, and with the component that is down if one is.
        """
        command = [*self.kubectl_command(), *arguments]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        try:
            done = subprocess.run(
                command,
                env=environment,
                input=input or "",
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            stderr = f"no end after {timeout:.0f} s"
            raise KubectlFailed(["kubectl", *arguments], 124, stderr, self.explain()) from late
        if done.returncode:
            raise KubectlFailed(["kubectl", *arguments], done.returncode, done.stderr, self.explain())
        return done.stdout

    def read(self, path: str) -> Any:
        """GET a path of the API, such as `/api/v1/nodes`; returns its JSON.

        Raises:
            ClusterError: with the API server's words.
        """
        try:
            return self.rest.request("GET", path)
        except (ClusterError, requests.RequestException) as failure:
            raise ClusterError(f"{failure}{self.explain()}") from failure

    @cached_property
    def rest(self) -> Rest:
        """The API server without kubectl, for what is done often."""
        return Rest(self.kubeconfig)

    def kubectl_command(self) -> list[str]:
        """The words that start kubectl: the machine's own, whose owner also chose the cluster, else the pinned one."""
        found = shutil.which("kubectl")
        return [found] if found else [str(binaries.path("serin-kube")), "kubectl"]

    def explain(self) -> str:
        """What is known to be wrong with the cluster itself, to be added to an error; empty if nothing is."""
        return ""

    def load_image(self, archive: Path) -> None:
        """Make an image (a `docker save` or OCI archive) available to pods: here, into a cluster made by kind."""
        context = self.kubectl("config", "current-context").strip()
        kind = shutil.which("kind")
        if not context.startswith("kind-") or not kind:
            raise Unavailable(
                f"no way is known to load {archive.name} into the cluster of {self.kubeconfig}: push it to a registry "
                "that the cluster uses, or take a cluster that kind or `make cluster` made"
            )
        name = context.removeprefix("kind-")
        done = subprocess.run(
            [kind, "load", "image-archive", str(archive), "--name", name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ClusterError(f"kind load image-archive {archive}: {done.stderr.strip()}")

    def restart(self, component: str) -> None:
        """Refused: the components of somebody else's cluster are not ours to stop."""
        raise Unavailable(f"{component} of the cluster in SERIN_TEST_KUBECONFIG cannot be restarted from here")

    def kill(self, component: str) -> None:
        """Refused, as `restart` is."""
        raise Unavailable(f"{component} of the cluster in SERIN_TEST_KUBECONFIG cannot be killed from here")


def _text(part: dict[str, Any], key: str) -> str | None:
    return base64.b64decode(part[key]).decode() if key in part else None
