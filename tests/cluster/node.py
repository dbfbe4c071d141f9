"""The programs of a node: containerd, kubelet, kube-proxy and CoreDNS, with their settings.

CoreDNS is a process beside the kubelet and not a pod: it needs no image, and DNS works before the first pod does. The
Service `kube-dns` leads to it, so pods find it where they always do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster import probes
from tests.cluster.control_plane import NODE_NAME, Site
from tests.cluster.errors import ClusterError
from tests.cluster.namespaces import Slice
from tests.cluster.packages import program
from tests.cluster.pki import Authority
from tests.cluster.processes import Command, Probe

SOCKET = "/run/containerd/containerd.sock"
DOMAIN = "cluster.local"
MAXIMUM_PODS = 250
SOCKET_BYTES = 107  # that the path of a Unix socket may have (unix(7))
LONGEST_SOCKET = "kubelet/device-plugins/kubelet.sock"


def check_length(folder: Path) -> None:
    """Raise ClusterError when the kubelet's sockets have no place in the folder; the kubelet only ends."""
    surplus = len(os.fsencode(folder.resolve() / LONGEST_SOCKET)) - SOCKET_BYTES
    if surplus > 0:
        raise ClusterError(
            f"the path of {folder} is {surplus} bytes too long for the kubelet's sockets: choose a shorter one"
        )


def write_keys(site: Site, one: Slice, authority: Authority) -> None:
    """Make the node's certificate and the kubeconfigs of its programs."""
    authority.issue("kubelet", f"system:node:{NODE_NAME}", ["system:nodes"], hosts=[NODE_NAME, str(one.node_ip)])
    kubelet = site.pki / "kubelet.kubeconfig"
    authority.kubeconfig(kubelet, site.server, f"system:node:{NODE_NAME}", ["system:nodes"])
    authority.kubeconfig(site.pki / "kube-proxy.kubeconfig", site.server, "system:kube-proxy")
    authority.kubeconfig(site.pki / "coredns.kubeconfig", site.server, "system:coredns")


def write_settings(site: Site, one: Slice, pause: str) -> None:
    """Write the settings of every program of the node; `pause` is the image that holds a pod's namespaces."""
    network = site.folder / "cni"
    network.mkdir()
    (network / "10-serin.conflist").write_text(json.dumps(_cni(site.folder, one), indent=2))
    (site.folder / "containerd.toml").write_text(_containerd(site.folder, network, pause))
    (site.folder / "kubelet.json").write_text(json.dumps(_kubelet(site, one), indent=2))
    (site.folder / "Corefile").write_text(_corefile(site, one))


def containerd(site: Site, init: int) -> Command:
    """Run containers."""
    argv = (program("containerd"), f"--config={site.folder / 'containerd.toml'}")
    return Command("containerd", argv, _containerd_answers(init), site.inside)


def kubelet(site: Site, one: Slice) -> Command:
    """Run the pods that the API server says."""
    argv = (
        str(site.binary),
        "kubelet",
        f"--config={site.folder / 'kubelet.json'}",
        f"--kubeconfig={site.pki / 'kubelet.kubeconfig'}",
        f"--root-dir={site.folder / 'kubelet'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={one.node_ip}",
    )
    return Command("kubelet", argv, probes.http("http://127.0.0.1:10248/healthz", network=site.network), site.inside)


def kube_proxy(site: Site, one: Slice) -> Command:
    """Lead Service addresses to pods."""
    argv = (
        str(site.binary),
        "kube-proxy",
        f"--kubeconfig={site.pki / 'kube-proxy.kubeconfig'}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={one.pods}",
        f"--hostname-override={NODE_NAME}",
        # These are settings of the whole machine, and not ours.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--healthz-bind-address=127.0.0.1:10256",
        "--metrics-bind-address=127.0.0.1:10249",
    )
    ready = probes.http("http://127.0.0.1:10256/healthz", network=site.network)
    return Command("kube-proxy", argv, ready, site.inside)


def coredns(site: Site, binary: Path) -> Command:
    """Give Services their names."""
    argv = (str(binary), f"-conf={site.folder / 'Corefile'}")
    return Command("coredns", argv, probes.http("http://127.0.0.1:8181/ready", network=site.network), site.inside)


def containerd_socket(init: int) -> Path:
    """Return containerd's socket as the host sees it, through the first process of the namespaces."""
    return Path(f"/proc/{init}/root{SOCKET}")


def _containerd_answers(init: int) -> Probe:
    def probe() -> str | None:
        command = [program("ctr"), "--address", str(containerd_socket(init)), "--connect-timeout", "2s", "version"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr.strip() if done.returncode else None

    return probe


def snapshotter(folder: Path) -> str:
    """Return "overlayfs" where the file system of `folder` can be its upper layer, else "native", which copies."""
    place = folder / "overlay-test"
    for part in ("lower", "upper", "work", "merged"):
        (place / part).mkdir(parents=True, exist_ok=True)
    options = ",".join(f"{kind}dir={place / kind}" for kind in ("lower", "upper", "work"))
    mount = [program("mount"), "-t", "overlay", "overlay", "-o", options, str(place / "merged")]
    done = subprocess.run([program("unshare"), "--mount", *mount], capture_output=True, check=False)
    shutil.rmtree(place)
    return "native" if done.returncode else "overlayfs"


def _containerd(folder: Path, network: Path, pause: str) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    q = json.dumps  # a JSON string is a TOML string
    return f"""version = 2
root = {q(str(folder / "containerd"))}
state = "/run/containerd"

[grpc]
  address = {q(SOCKET)}

[plugins."io.containerd.internal.v1.opt"]
  path = {q(str(folder / "containerd-opt"))}

[{cri}]
  sandbox_image = {q(pause)}
  # Without CAP_SYS_RESOURCE, runc may not lower the score and dies with "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  disable_apparmor = true

[{cri}.containerd]
  snapshotter = {q(snapshotter(folder))}

[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
  BinaryName = {q(program("runc"))}
  SystemdCgroup = false

[{cri}.cni]
  bin_dir = {q(str(Path(program("bridge")).parent))}
  conf_dir = {q(str(network))}
"""


def _cni(folder: Path, one: Slice) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(one.pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(folder / "cni-addresses"),
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "serin", "plugins": [bridge, ports]}


def _kubelet(site: Site, one: Slice) -> dict[str, object]:
    server = site.pair("kubelet")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(site.pair("ca").certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(server.certificate),
        "tlsPrivateKeyFile": str(server.key),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{one.name}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "clusterDNS": [str(one.dns_ip)],
        "clusterDomain": DOMAIN,
        # There is no DNS beyond the cluster: whatever the machine's resolver is, no packet goes there.
        "resolvConf": "/dev/null",
        "volumePluginDir": str(site.folder / "kubelet-plugins"),
        "podLogsDir": str(site.folder / "pod-logs"),
        "maxPods": MAXIMUM_PODS,
        # A developer's nearly full disk is no reason to evict a test's pod or its only copy of an image.
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
    }


def _corefile(site: Site, one: Slice) -> str:
    return f""".:53 {{
    bind {one.node_ip}
    errors
    ready 127.0.0.1:8181
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {site.pki / "coredns.kubeconfig"}
        pods insecure
        ttl 5
    }}
    cache 5
}}
"""


def dns_manifests(one: Slice) -> str:
    """Return the Service `kube-dns`, that it leads to CoreDNS, and what CoreDNS may read, as JSON."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    system = {"namespace": "kube-system", "name": "kube-dns"}
    items: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**system, "labels": labels},
            "spec": {"clusterIP": str(one.dns_ip), "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**system, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [str(one.node_ip)], "conditions": {"ready": True}}],
            "ports": ports,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                _may_watch("", ["endpoints", "services", "pods", "namespaces"]),
                _may_watch("discovery.k8s.io", ["endpointslices"]),
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}],
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _may_watch(group: str, resources: list[str]) -> dict[str, object]:
    return {"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]}
