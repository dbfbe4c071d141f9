"""The node level: a control plane and one real node, all of it in namespaces of its own.

The control plane is in there too, and not on the host: its ports are then the usual ones and never taken, no port of
the host leads into the cluster, pods and the API server reach each other directly, and one kill ends everything.
"""

from __future__ import annotations

import os
import re
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

from tests.cluster import binaries, control_plane, images, namespaces, node, packages, prometheus, recipes, state
from tests.cluster.control_plane import NODE_NAME, Site
from tests.cluster.errors import ClusterError, ComponentFailed, Unavailable
from tests.cluster.local import (
    LocalCluster,
    await_default_account,
    control_plane_commands,
    start_control_plane,
)
from tests.cluster.namespaces import Slice
from tests.cluster.processes import Command, children

SANDBOX = "namespaces"
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


class NodeCluster(LocalCluster):
    """A whole cluster with one node on which pods really run."""

    @staticmethod
    def require() -> None:
        """Check what this level needs; packages that root can install are installed.

        Raises:
            Unavailable: naming what is missing.
        """
        if os.geteuid() != 0:
            raise Unavailable(
                "a cluster with a real node needs root: it makes namespaces, mounts, a veth pair and cgroups. Run it "
                "with sudo, or take the control-plane level (`make control-plane`), which needs no root"
            )
        status = Path("/proc/self/status").read_text()
        held = int(re.search(r"CapEff:\s*(\w+)", status)[1], 16)  # type: ignore[index]  # always there
        lacking = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
        if lacking:
            raise Unavailable(
                f"root here lacks {' and '.join(lacking)}, which a cluster with a real node needs; in a container, "
                "that takes `--privileged`"
            )
        packages.ensure()

    @property
    def slice(self) -> Slice:
        """Its names and addresses."""
        if self.record.slice is None:
            raise ClusterError(f"the cluster in {self.folder} has no addresses yet")
        return Slice(self.record.slice)

    @property
    def node_ip(self) -> IPv4Address:
        """The node's address. The host reaches it, every pod and every Service address directly."""
        return self.slice.node_ip

    @property
    def host_ip(self) -> IPv4Address:
        """The host's address as pods see it: what listens on it (or on 0.0.0.0) can be reached from pods."""
        return self.slice.host_ip

    @property
    def prometheus_url(self) -> str:
        """Prometheus, for programs on the host."""
        return prometheus.url(self.slice)

    @property
    def init(self) -> int:
        """The first process of the namespaces, by its id on the host."""
        outer = self.record.components.get(SANDBOX)
        inside = children(outer.pid) if outer and outer.alive() else []
        if not inside:
            cause = "somebody ended their first process, or the machine was started anew"
            raise ComponentFailed(SANDBOX, "are gone", cause, "", str(self.logs_dir / f"{SANDBOX}.log"))
        return inside[0]

    @property
    def containerd_socket(self) -> Path:
        """For clients on the host."""
        return node.containerd_socket(self.init)

    @property
    def site(self) -> Site:
        """In the namespaces, on the usual ports."""
        return Site(
            folder=self.folder,
            binary=binaries.path("serin-kube"),
            ports=self.record.ports,
            address=str(self.node_ip),
            services=self.slice.services,
            network=namespaces.network(self.init),
            inside=namespaces.enter_command(self.init),
        )

    def commands(self) -> dict[str, Command]:
        """Every component, in the order of the start."""
        site, one = self.site, self.slice
        found = {SANDBOX: self._sandbox(), "containerd": node.containerd(site, self.init)}
        found |= control_plane_commands(site)
        found["kubelet"] = node.kubelet(site, one)
        found["kube-proxy"] = node.kube_proxy(site, one)
        found["coredns"] = node.coredns(site, binaries.path("coredns"))
        return found | prometheus.commands(site, one)

    def bring_up(self) -> None:
        """Start everything; afterwards the node is Ready, and DNS and Prometheus answer."""
        binaries.prepare(["serin-kube", "coredns"])
        pause = recipes.pause_image()
        self._make_namespaces()
        site = self.site
        authority = control_plane.write_keys(site)
        node.write_keys(site, self.slice, authority)
        node.write_settings(site, self.slice, pause.reference)
        prometheus.write_keys(authority)
        prometheus.write_settings(site)
        self.begin("containerd")
        start_control_plane(self)
        for manifests in (node.dns_manifests(self.slice), prometheus.manifests(self.slice)):
            self.kubectl("apply", "--server-side", "--validate=false", "-f", "-", input=manifests)
        self.await_ready("containerd")
        self.load(pause)
        self.begin("kubelet", "kube-proxy", "coredns", *prometheus.commands(site, self.slice))
        self.await_ready(*self.commands())
        self.await_condition(f"node {NODE_NAME} is Ready", self._node_is_ready)
        await_default_account(self)

    def load(self, image: images.Image) -> images.Import:
        """Import an image that was built here; only layers that containerd lacks are sent."""
        return images.import_image(image, self.containerd_socket, self._snapshotter())

    def remove_image(self, reference: str) -> None:
        """Take an image away from the node."""
        images.remove_image(reference, self.containerd_socket)

    def load_image(self, archive: Path) -> None:
        """Import an image archive, as `docker save` or an OCI tool wrote it."""
        command = [packages.program("ctr"), "--address", str(self.containerd_socket), "--namespace", images.NAMESPACE]
        command += ["images", "import", "--snapshotter", self._snapshotter(), str(archive)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"containerd refused {archive}: {done.stderr.strip()}{self.explain()}")

    def _make_namespaces(self) -> None:
        with state.locked():
            taken = {record.slice for record in state.records() if record.slice is not None}
            one = namespaces.choose(taken)
            self.record.slice = one.index  # first, so that the next launcher removes it whatever happens to this one
            self.record.save()
        self.begin_with(self._sandbox())
        self.await_ready(SANDBOX)
        namespaces.connect(one, self.init)
        namespaces.make_cgroups(one)

    def _sandbox(self) -> Command:
        log = self.logs_dir / f"{SANDBOX}.log"

        def ready() -> str | None:
            return None if "ready" in log.read_text() else "the namespaces are not set up yet"

        return Command(SANDBOX, tuple(namespaces.sandbox_command(NODE_NAME)), ready)

    def _snapshotter(self) -> str:
        settings = (self.folder / "containerd.toml").read_text()
        return "native" if 'snapshotter = "native"' in settings else "overlayfs"

    def _node_is_ready(self) -> bool:
        path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "node", NODE_NAME, "--ignore-not-found", "-o", path) == "True"
