"""The namespaces a node lives in: network, mount, PID, UTS and IPC, and its slice of the test address range.

Everything that a node does to a machine (iptables rules, bridges, mounts, processes) it does in here, so it ends with
the namespaces, and two nodes do not see each other. What lies outside is one veth pair with two routes, so that
programs on the host reach pods and Services, and a cgroup per hierarchy; their names carry the number of the slice.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from tests.cluster.errors import ClusterError, Unavailable
from tests.cluster.packages import program

RANGE = IPv4Network("198.18.0.0/15")
"""RFC 2544's range for tests: routed nowhere. Each of eight clusters takes one eighth."""
SLICES = 8

INIT = Path(__file__).with_name("init.py")


@dataclass(frozen=True, slots=True)
class Slice:
    """Names and addresses of one of the clusters that can run side by side."""

    index: int

    @property
    def name(self) -> str:
        """Of the cgroups and the host's end of the veth pair."""
        return f"serin-{self.index}"

    @property
    def addresses(self) -> IPv4Network:
        """All of this cluster's: a /18."""
        return list(RANGE.subnets(new_prefix=18))[self.index]

    @property
    def pods(self) -> IPv4Network:
        """A /19."""
        return next(self.addresses.subnets(new_prefix=19))

    @property
    def services(self) -> IPv4Network:
        """A /20."""
        return list(self.addresses.subnets(new_prefix=20))[2]

    @property
    def host_ip(self) -> IPv4Address:
        """The host, as pods see it."""
        return self.addresses[-3]

    @property
    def node_ip(self) -> IPv4Address:
        """The node, as the host sees it."""
        return self.addresses[-2]

    @property
    def dns_ip(self) -> IPv4Address:
        """The Service address of cluster DNS."""
        return self.services[10]

    @property
    def cgroups(self) -> list[Path]:
        """Its cgroup in every hierarchy of this machine, v1 or v2."""
        return [mount / self.name for mount in cgroup_mounts()]


def choose(taken: set[int]) -> Slice:
    """Return the first slice that neither a known run nor anything else on this machine uses.

    Raises:
        Unavailable: when there is none.
    """
    for index in range(SLICES):
        one = Slice(index)
        if index not in taken and not _link(one).exists() and not _collides(one.addresses):
            return one
    raise Unavailable(
        f"no room for another cluster: {SLICES} can run side by side, each in an eighth of {RANGE}, and every eighth "
        "is used by a cluster or has a route already (see `ip route`)"
    )


def network(init: int) -> Path:
    """Return the file that is the network namespace of the process `init`."""
    return Path(f"/proc/{init}/ns/net")


def _collides(addresses: IPv4Network) -> bool:
    """Whether this machine has a route into `addresses` already."""
    for route in json.loads(_run("ip", "-j", "-4", "route", "show", "table", "all") or "[]"):
        with contextlib.suppress(ValueError):
            if ipaddress.IPv4Network(route["dst"]).overlaps(addresses) and route["dst"] != "0.0.0.0/0":
                return True
    return False


def connect(one: Slice, init: int) -> None:
    """Join the host and the namespace of the process `init` by a veth pair, with routes to pods and Services."""
    prefix = 30
    _run("ip", "link", "add", one.name, "type", "veth", "peer", "name", "eth0", "netns", str(init))
    _run("ip", "address", "add", f"{one.host_ip}/{prefix}", "dev", one.name)
    _run("ip", "link", "set", one.name, "up")
    in_namespace = ("nsenter", f"--net={network(init)}", program("ip"))
    _run(*in_namespace, "link", "set", "lo", "up")
    _run(*in_namespace, "address", "add", f"{one.node_ip}/{prefix}", "dev", "eth0")
    _run(*in_namespace, "link", "set", "eth0", "up")
    # kube-proxy rewrites Service addresses, but only of packets that the kernel has a route for. On the veth pair
    # nobody has a Service's address, so one that no Service has is "unreachable" at once.
    _run(*in_namespace, "route", "add", str(one.services), "dev", "eth0", "src", str(one.node_ip))
    for addresses in (one.pods, one.services):
        _run("ip", "route", "add", str(addresses), "via", str(one.node_ip), "dev", one.name)


def sandbox_command(hostname: str) -> list[str]:
    """Return the command that makes the namespaces and waits in them; killing it ends all that is inside.

    The network namespace has no name in /run/netns, and so goes with its last process. Nothing is run by
    `ip netns exec`: that mounts a new /sys, which hides the cgroups.
    """
    kinds = ("--net", "--mount", "--pid", "--uts", "--ipc")
    unshare = [program("unshare"), *kinds, "--fork", "--mount-proc", "--kill-child", "--propagation", "private"]
    return [*unshare, sys.executable, "-I", "-S", str(INIT), hostname]


def enter_command(init: int) -> tuple[str, ...]:
    """Return the prefix that runs a program in all namespaces of the process `init` (its id on the host)."""
    kinds = ("--mount", "--pid", "--uts", "--ipc", "--net")
    return (program("nsenter"), f"--target={init}", *kinds, "--")


def cgroup_mounts() -> list[Path]:
    """Return where cgroup hierarchies are mounted: one on v2, one for each controller on v1, both on a hybrid."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] in ("cgroup", "cgroup2"):
            found.append(Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), left.split()[4])))
    return sorted(set(found))


def make_cgroups(one: Slice) -> None:
    """Make the node's own cgroup in every hierarchy.

    Raises:
        Unavailable: when there is none, or it may not be changed.
    """
    if not one.cgroups:
        raise Unavailable("no cgroup hierarchy is mounted: the kubelet cannot run here")
    for folder in one.cgroups:
        try:
            _delegate(folder.parent)
            folder.mkdir(exist_ok=True)
            _delegate(folder)
            _fill_cpuset(folder)
            _prefer(folder)
        except OSError as error:
            hint = "; in a container on cgroup v2 that takes `--cgroupns=host`" if error.errno == errno.EBUSY else ""
            raise Unavailable(f"a cgroup cannot be made in {folder.parent}: {error}{hint}") from error


def _delegate(folder: Path) -> None:
    """On v2, hand the controllers that a kubelet needs down to the groups below."""
    control = folder / "cgroup.subtree_control"
    if not control.exists():
        return
    available = set((folder / "cgroup.controllers").read_text().split())
    wanted = available & {"cpu", "cpuset", "memory", "pids", "io", "hugetlb"} - set(control.read_text().split())
    for controller in sorted(wanted):
        control.write_text(f"+{controller}")


def _fill_cpuset(folder: Path) -> None:
    """On v1, a new cpuset has neither processors nor memory until it is given its parent's."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        one = folder / file
        if one.exists() and (folder / "tasks").exists() and not one.read_text().strip():
            one.write_text((folder.parent / file).read_text())


def _prefer(folder: Path) -> None:
    """Let pods, all together, have four times the processor time of one busy program beside them.

    A group counts as one program otherwise: with two test processes that compute, a pod that starts in 8 s takes 45.
    """
    for file, value in (("cpu.shares", "4096"), ("cpu.weight", "400")):  # v1, v2
        if (folder / file).exists():
            (folder / file).write_text(value)


def remove(one: Slice) -> list[str]:
    """Remove what lies outside of the namespaces; return what is still there.

    The processes inside must have ended.
    """
    # The pair goes with either end, the routes with the host's end.
    if _link(one).exists():
        _try("ip", "link", "delete", one.name)
    limit = time.monotonic() + 90
    while (left := [str(folder) for folder in one.cgroups if not _remove_cgroup(folder)]) and time.monotonic() < limit:
        time.sleep(0.1)
    return [*left, *([f"network link {one.name}"] if _link(one).exists() else [])]


def _link(one: Slice) -> Path:
    return Path(f"/sys/class/net/{one.name}")


def _remove_cgroup(folder: Path) -> bool:
    """Remove a cgroup with all below it, deepest first; False while the kernel still counts something in it."""
    if not folder.exists():
        return True
    for place, _, _ in os.walk(folder, topdown=False):
        try:
            Path(place).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def _run(*command: str) -> str:
    done = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def _try(*command: str) -> None:
    with contextlib.suppress(ClusterError):
        _run(*command)
