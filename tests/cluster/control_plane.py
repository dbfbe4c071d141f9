"""etcd, API server, controller manager and scheduler: their keys and their command lines.

The same command lines serve both levels. On the control-plane level they listen on loopback of the host; on the node
level they run in the cluster's namespaces, where the API server listens on the node's address, so that pods reach it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from tests.cluster import probes
from tests.cluster.pki import Authority, Pair
from tests.cluster.ports import Ports
from tests.cluster.processes import Command, Probe

NODE_NAME = "serin-node"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a control plane runs."""

    folder: Path
    binary: Path
    ports: Ports
    address: str
    """Where clients find the API server."""
    services: IPv4Network
    network: Path | None = None
    """The file of the network namespace, if it has one of its own."""
    inside: tuple[str, ...] = ()

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.ports.api_server}"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.folder / "pki"

    def pair(self, name: str) -> Pair:
        """A certificate with its key, by name."""
        return Pair(self.pki / f"{name}.crt", self.pki / f"{name}.key")


def write_keys(site: Site) -> Authority:
    """Make the authority, every certificate of the control plane, and the kubeconfigs."""
    authority = Authority(site.pki)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    hosts = ["localhost", "127.0.0.1", site.address, str(site.services[1]), *names]
    authority.issue("api-server", "kube-apiserver", hosts=sorted(set(hosts)))
    authority.issue("component", "health", hosts=["localhost", "127.0.0.1"])
    authority.issue("api-server-kubelet-client", "kube-apiserver", ["system:masters"])
    authority.key_pair("service-account")
    for name in ("controller-manager", "scheduler"):
        authority.kubeconfig(site.pki / f"{name}.kubeconfig", site.server, f"system:kube-{name}")
    authority.kubeconfig(site.folder / "kubeconfig", site.server, "serin-test-admin", ["system:masters"])
    return authority


def etcd(site: Site) -> Command:
    """Keep everything; no fsync, because a test cluster need not survive the machine."""
    client = f"http://127.0.0.1:{site.ports.etcd}"
    peer = f"http://127.0.0.1:{site.ports.etcd_peer}"
    argv = (
        "etcd",
        f"--data-dir={site.folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    )
    return _command(site, "etcd", argv, probes.http(f"{client}/readyz", network=site.network))


def api_server(site: Site) -> Command:
    """Serve the API."""
    certificate, kubelet_client = site.pair("api-server"), site.pair("api-server-kubelet-client")
    on_host = site.network is None
    argv = (
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{site.ports.etcd}",
        f"--bind-address={'127.0.0.1' if on_host else '0.0.0.0'}",
        f"--secure-port={site.ports.api_server}",
        # Endpoints may not be loopback addresses; without pods nobody needs the `kubernetes` Service's.
        f"--advertise-address={site.services[-2] if on_host else site.address}",
        f"--endpoint-reconciler-type={'none' if on_host else 'lease'}",
        f"--tls-cert-file={certificate.certificate}",
        f"--tls-private-key-file={certificate.key}",
        f"--client-ca-file={site.pair('ca').certificate}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={site.services}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={site.pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={site.pki / 'service-account.key'}",
        f"--kubelet-client-certificate={kubelet_client.certificate}",
        f"--kubelet-client-key={kubelet_client.key}",
        f"--kubelet-certificate-authority={site.pair('ca').certificate}",
        # Else `kubectl exec` and `logs` look the node's name up in a DNS that does not know it.
        "--kubelet-preferred-address-types=InternalIP",
    )
    ready = probes.http(f"{site.server}/readyz", ca=site.pair("ca").certificate)
    return _command(site, "kube-apiserver", argv, ready)


def controller_manager(site: Site) -> Command:
    """Run the built-in controllers."""
    authority = site.pair("ca")
    argv = (
        "kube-controller-manager",
        f"--kubeconfig={site.pki / 'controller-manager.kubeconfig'}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={site.pki / 'service-account.key'}",
        f"--root-ca-file={authority.certificate}",
        f"--cluster-signing-cert-file={authority.certificate}",
        f"--cluster-signing-key-file={authority.key}",
        *_common_flags(site, site.ports.controller_manager),
    )
    return _command(site, "kube-controller-manager", argv, _health(site, site.ports.controller_manager))


def scheduler(site: Site) -> Command:
    """Give pods their nodes."""
    kubeconfig = site.pki / "scheduler.kubeconfig"
    argv = ("kube-scheduler", f"--kubeconfig={kubeconfig}", *_common_flags(site, site.ports.scheduler))
    return _command(site, "kube-scheduler", argv, _health(site, site.ports.scheduler))


def _common_flags(site: Site, port: int) -> tuple[str, ...]:
    pair = site.pair("component")
    return (
        "--leader-elect=false",
        # The usual 20 and 50 requests a second make a start take seconds longer, and tests of scale minutes.
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={pair.certificate}",
        f"--tls-private-key-file={pair.key}",
    )


def _health(site: Site, port: int) -> Probe:
    return probes.http(f"https://127.0.0.1:{port}/healthz", ca=site.pair("ca").certificate, network=site.network)


def _command(site: Site, name: str, argv: tuple[str, ...], ready: Probe) -> Command:
    return Command(name, (str(site.binary), *argv), ready, site.inside)
