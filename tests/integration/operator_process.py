"""`serin run` as a process of its own, behind a proxy that counts and cuts; and what a test does as a kubelet would."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import aiohttp

from serin.api.json import JsonObject
from serin.api.names import FIELD_MANAGER
from tests.cluster.errors import ClusterError
from tests.cluster.ports import free_port
from tests.cluster.rest import APPLY, MERGE, Refused, Rest
from tests.crds import FILES, load
from tests.integration.proxy import Proxy, kubeconfig_through, proxied
from tests.simulation.envoys import Envoy, HttpLink


class ControlPlane(Protocol):
    """What these tests need of the fixture `control_plane`."""

    kubeconfig: Path

    @property
    def rest(self) -> Rest: ...

    def kubectl(self, *args: str, input: str | None = None) -> str: ...


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NOT_FOUND = 404
OF_THE_IMAGE = {"MALLOC_ARENA_MAX": "1"}


class Cluster:
    """A namespace for one test, with a namespace for Serin itself, on a control plane that has Serin's CRDs."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._kubectl, self._rest = control_plane.kubectl, control_plane.rest
        suffix = uuid4().hex[:6]
        self.shop, self.system = f"shop-{suffix}", f"serin-{suffix}"
        for kind in FILES:
            one = load(kind)
            path = f"{DEFINITIONS}/{one['metadata']['name']}?fieldManager=kubectl"
            self._rest.request("PATCH", path, one, content=APPLY)
        wait_for_storage(self._rest)
        for namespace in (self.shop, self.system):
            self._rest.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})

    def remove(self) -> None:
        """Delete both namespaces, without waiting for it."""
        for namespace in (self.shop, self.system):
            self._rest.request("DELETE", f"/api/v1/namespaces/{namespace}")

    def kubectl(self, *args: str, body: JsonObject | None = None) -> str:
        return self._kubectl("--namespace", self.shop, *args, input=None if body is None else json.dumps(body))

    def read(
        self, kind: str, name: str = "", *, selector: str = "", namespace: str = "", managed: bool = False
    ) -> JsonObject:
        """One object, or a list of them, with their managed fields if asked for."""
        return self._rest.get(kind, namespace or self.shop, name, selector, managed=managed)

    def deploy(self, name: str = "fraud", version: str = "1", **spec: Any) -> None:
        """Apply a ModelDeployment."""
        container = {"name": "model", "image": "registry.test/model:1", "ports": [{"containerPort": 8080}]}
        body: JsonObject = {
            "apiVersion": "serin.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": {"model": {"name": name, "version": version}, "template": {"spec": {"containers": [container]}}}
            | spec,
        }
        self.kubectl("apply", "-f", "-", body=body)

    def status(self, name: str = "fraud") -> JsonObject:
        status: JsonObject = self.read("md", name).get("status") or {}
        return status

    def clear(self, *kinds: str) -> None:
        """Delete all objects of these kinds, and wait until they are gone."""
        for kind in kinds:
            self._rest.request("DELETE", self._rest.path(kind, self.shop))
        end = time.monotonic() + 60.0
        while any(self.read(kind)["items"] for kind in kinds):
            assert time.monotonic() < end, f"there still are objects of {kinds}"
            time.sleep(0.05)

    def create(self, body: JsonObject) -> None:
        """Create an object with the strict validation that kubectl asks for."""
        path = self._rest.path(body["kind"], self.shop)
        self._rest.request("POST", f"{path}?fieldManager=kubectl-create&fieldValidation=Strict", body)

    def apply_status(self, body: JsonObject) -> None:
        """Write a status as the operator does: server-side apply of the status alone."""
        path = self._rest.path(body["kind"], self.shop, body["metadata"]["name"])
        query = f"fieldManager={FIELD_MANAGER}&force=true"
        self._rest.request("PATCH", f"{path}/status?{query}", body, content=APPLY)

    def make_pods_ready(self, ready: bool = True) -> int:
        """Say what a kubelet would say of every pod; returns how many there are. Pods may go meanwhile."""
        pods = [pod for pod in self.read("pods")["items"] if "deletionTimestamp" not in pod["metadata"]]
        condition = {"type": "Ready", "status": str(ready)}
        status = {"phase": "Running", "conditions": [condition]}
        for pod in pods:
            path = self._rest.path("pods", self.shop, pod["metadata"]["name"])
            try:
                self._rest.request("PATCH", f"{path}/status", {"status": status}, content=MERGE)
            except Refused as refused:
                if refused.status != NOT_FOUND:
                    raise
        return len(pods)


def wait_for_storage(rest: Rest) -> None:
    """A kind's first second is over when it can be listed: until then the API server answers 429."""
    end = time.monotonic() + 60.0
    while True:
        try:
            for kind in ("md", "msnap", "mtpl", "review"):
                rest.get(kind, "default")
            return
        except ClusterError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


async def until(true: Callable[[], object], seconds: float = 90.0, what: str = "it") -> None:
    """Wait until a condition holds; it is asked in a thread, since it may run kubectl."""
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(true):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds:g} s")
        await asyncio.sleep(0.1)


class OperatorProcess:
    """One running `serin run`. `more`: further flags of it."""

    def __init__(
        self, kubeconfig: Path, cluster: Cluster, log: Path, prometheus: str = "http://127.0.0.1:9", **more: str
    ) -> None:
        self.port, self.xds_port, self._log = free_port(), free_port(), log
        flags = {
            "kubeconfig": kubeconfig,
            "namespace": cluster.system,
            "watch-namespaces": cluster.shop,
            "http-port": self.port,
            "xds-port": self.xds_port,
            "xds-authentication": "none",
            "prometheus-url": prometheus,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        command = [sys.executable, "-m", "serin", "run", *(f"--{name}={value}" for name, value in flags.items())]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stderr=out, env={**os.environ, **OF_THE_IMAGE, "SERIN_LOG_LEVEL": "info"}
            )

    async def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page; 0 while nothing listens."""
        try:
            url = f"http://127.0.0.1:{self.port}/{path}"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's series that have these labels."""
        _, text = await self.page("metrics")
        total = 0.0
        for found in re.finditer(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE):
            has = dict(re.findall(r'(\w+)="([^"]*)"', found.group(1) or ""))
            total += float(found.group(2)) if labels.items() <= has.items() else 0.0
        return total

    async def wait_until_ready(self, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while (await self.page("readyz"))[0] != 200:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            await asyncio.sleep(0.1)

    async def wait_until_leading(self, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while not await self.metric("serin_leader"):
            assert time.monotonic() < end, self.log()
            await asyncio.sleep(0.05)

    def log(self) -> str:
        return self._log.read_text()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 60)


@asynccontextmanager
async def routing(operator: OperatorProcess, pod: str) -> AsyncIterator[Envoy]:
    """A router pod that takes every configuration at once. `pod`: its name, or the address of an endpoint without."""
    # Each question is held until there is news, so all of them are under way at once, as Envoy's are.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        envoy = Envoy(pod, HttpLink(session, f"http://127.0.0.1:{operator.xds_port}"))
        envoy.start()
        try:
            yield envoy
        finally:
            await envoy.stop()


@asynccontextmanager
async def operating(
    control_plane: ControlPlane, cluster: Cluster, folder: Path
) -> AsyncIterator[tuple[OperatorProcess, Proxy]]:
    """An operator that leads, and the proxy that all its requests pass."""
    async with proxied(control_plane.kubeconfig) as proxy:
        operator = OperatorProcess(kubeconfig_through(proxy, folder), cluster, folder / "operator.log")
        try:
            await operator.wait_until_ready()
            await operator.wait_until_leading()
            yield operator, proxy
        finally:
            await operator.stop(signal.SIGKILL)
