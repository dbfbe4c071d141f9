"""Clusters made of our own processes: what both levels share, and the control-plane level itself."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster import binaries, control_plane, kwok
from tests.cluster.access import Cluster
from tests.cluster.control_plane import Site
from tests.cluster.errors import ClusterError, ComponentFailed
from tests.cluster.processes import Command, Component
from tests.cluster.state import Record


class LocalCluster(Cluster):
    """A cluster whose components are our own processes."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.kubeconfig)
        self.record = record
        self.logs_dir = record.logs
        self._components: dict[str, Component] = {}

    @property
    def folder(self) -> Path:
        """All of the cluster's state."""
        return self.record.folder

    def kubectl_command(self) -> list[str]:
        """The pinned kubectl, of the API server's own version."""
        return [str(binaries.path("serin-kube")), "kubectl"]

    def explain(self) -> str:
        """Name the components that are down."""
        try:
            self.check()
        except ComponentFailed as failure:
            return f"\n{failure}"
        return ""

    def check(self) -> None:
        """Raise ComponentFailed for the first of the components started so far that does not run."""
        self.record.reread()
        for name in list(self.record.components):
            self._component(name).check()

    def check_all(self) -> None:
        """Raise ComponentFailed unless every component runs, whoever started it."""
        for name in self.commands():
            self._component(name).check()

    def status(self) -> dict[str, str]:
        """Say of every component "ready", or what is wrong."""
        return {name: self._component(name).condition() for name in self.commands()}

    def reap(self) -> None:
        """Take the exit status of components that were ended from outside, so that no zombie is left."""
        for component in self._components.values():
            component.reap()

    def commands(self) -> dict[str, Command]:
        """Every component, in the order of the start."""
        raise NotImplementedError

    def restart(self, component: str) -> None:
        """Stop the component as an administrator would (if it runs), start it again and wait until it is ready."""
        self.record.reread()
        one = self._component(component)
        one.stop()
        self.launch(one)
        one.wait_ready()

    def kill(self, component: str) -> None:
        """End the component as a crash would (SIGKILL)."""
        self.record.reread()
        self._component(component).kill()

    def begin(self, *names: str) -> None:
        """Start components side by side."""
        commands = self.commands()
        for name in names:
            self.begin_with(commands[name])

    def begin_with(self, command: Command) -> None:
        """Start one component."""
        component = Component(command, self.logs_dir, self.record.run)
        self._components[command.name] = component
        self.launch(component)

    def await_ready(self, *names: str) -> None:
        """Wait until these components are ready; fail at once when any component has died."""
        for name in names:
            self._components[name].wait_ready(others=self.check)

    def launch(self, component: Component) -> None:
        """Start one component and record its processes."""
        component.start()
        outer = component.outer()
        if outer:
            self.record.components[component.name] = outer
            self.record.save()

    def _component(self, name: str) -> Component:
        known, found = self._components.get(name), self.record.components.get(name)
        if known is None or (found is not None and known.outer() != found):  # or another process has restarted it
            command = self.commands().get(name)
            if command is None:
                raise ClusterError(f"no component {name!r}: this cluster has {', '.join(self.commands())}")
            self._components[name] = Component(command, self.logs_dir, self.record.run, found)
        return self._components[name]

    def await_condition(self, what: str, holds: Callable[[], bool], seconds: float = 120.0) -> None:
        """Poll until the cluster does what is expected of it.

        Raises:
            ClusterError: after `seconds`, or at once when a component has died.
        """
        limit = time.monotonic() + seconds
        while not holds():
            self.check()
            if time.monotonic() > limit:
                raise ClusterError(f"{what}: not so after {seconds:.0f} s; the logs are in {self.logs_dir}")
            time.sleep(0.1)


class ControlPlane(LocalCluster):
    """etcd, API server, controllers and scheduler on loopback, with simulated nodes. Needs no root."""

    @property
    def site(self) -> Site:
        """On the host, on the ports that the record names."""
        # Nothing listens on a Service address at this level: the range is only there to be allocated from.
        services = ipaddress.IPv4Network("198.19.0.0/16")
        binary = binaries.path("serin-kube")
        return Site(self.folder, binary, self.record.ports, "127.0.0.1", services)

    def commands(self) -> dict[str, Command]:
        """Every component, in the order of the start."""
        found = control_plane_commands(self.site)
        found["kwok"] = kwok.controller(self.site, binaries.path("kwok"))
        return found

    def bring_up(self, nodes: int) -> None:
        """Start everything and register `nodes` simulated nodes."""
        binaries.prepare(["serin-kube", "kwok"])
        kwok.write_keys(self.site, control_plane.write_keys(self.site))
        start_control_plane(self)
        self.begin("kwok")
        self.await_ready("kube-controller-manager", "kube-scheduler", "kwok")
        await_default_account(self)
        if nodes:
            self.kubectl("apply", "--server-side", "--validate=false", "-f", "-", input=kwok.nodes(nodes))


def control_plane_commands(site: Site) -> dict[str, Command]:
    """The four components that both levels have."""
    commands = (
        control_plane.etcd(site),
        control_plane.api_server(site),
        control_plane.controller_manager(site),
        control_plane.scheduler(site),
    )
    return {command.name: command for command in commands}


def start_control_plane(cluster: LocalCluster) -> None:
    """Start the four; the API server is ready afterwards, the others are on their way."""
    cluster.begin("etcd")
    cluster.await_ready("etcd")
    cluster.begin("kube-apiserver")
    cluster.await_ready("kube-apiserver")
    cluster.begin("kube-controller-manager", "kube-scheduler")


def await_default_account(cluster: LocalCluster) -> None:
    """Wait for the first thing that the controllers make and that every pod needs."""
    cluster.await_condition(
        "the controller manager makes the default ServiceAccount",
        lambda: bool(cluster.kubectl("get", "serviceaccounts", "--ignore-not-found", "default", "-o", "name")),
    )
