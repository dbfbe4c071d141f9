"""Starts, finds and removes whole clusters. The promise that nothing is left is kept here.

A start writes down what it is about to make before it makes it, so that the next launcher can remove it even if this
one is killed in between.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from tests.cluster import namespaces, node, state
from tests.cluster.access import Cluster
from tests.cluster.cache import say
from tests.cluster.errors import ClusterError, ComponentFailed
from tests.cluster.local import ControlPlane, LocalCluster
from tests.cluster.namespaces import Slice
from tests.cluster.node_cluster import NodeCluster
from tests.cluster.ports import Ports, free_ports
from tests.cluster.processes import end_all, identify, marked
from tests.cluster.state import CONTROL_PLANE, NODE, Record

PORT_TRIES = 3


def start_control_plane(folder: Path, *, nodes: int = 1, ports: Ports | None = None) -> ControlPlane:
    """Start a control plane with `nodes` simulated nodes; it belongs to this process until `release`.

    Ports are chosen unless given. One that somebody took between the choice and the start is chosen anew; a given one
    that is taken is an error.

    Raises:
        ClusterError: with the component at fault; nothing but the logs is left then.
    """
    tries = 1 if ports else PORT_TRIES
    while True:
        tries -= 1
        cluster = ControlPlane(_begin(CONTROL_PLANE, folder, ports or free_ports()))
        try:
            cluster.bring_up(nodes)
            return cluster
        except ComponentFailed as failure:
            end(cluster, keep_logs=True)
            if not tries or "port" not in failure.cause:
                raise
            say(f"{failure.component}: {failure.cause}; starting again on other ports")
        except BaseException:
            end(cluster, keep_logs=True)
            raise


def start_node_cluster(folder: Path) -> NodeCluster:
    """Start a cluster with one real node, in namespaces of its own; it belongs to this process until `release`.

    Raises:
        Unavailable: when this user or machine cannot run it; the text names what is missing.
        ClusterError: when the folder's path is too long; or with the component at fault, and nothing but the logs is
            left then.
    """
    NodeCluster.require()
    node.check_length(folder)
    cluster = NodeCluster(_begin(NODE, folder, Ports()))
    try:
        cluster.bring_up()
        return cluster
    except BaseException:
        end(cluster, keep_logs=True)
        raise


def release(cluster: LocalCluster) -> None:
    """Let the cluster outlive this process."""
    cluster.record.owner = None
    cluster.record.save()


def hand_over(cluster: LocalCluster, pid: int) -> None:
    """Let the cluster live for as long as another process does."""
    cluster.record.owner = identify(pid)
    cluster.record.save()


def attach(folder: Path) -> LocalCluster:
    """Return the cluster that runs in `folder`, whoever started it.

    Raises:
        ClusterError: when none does.
    """
    record = state.find(folder)
    if record is None:
        raise ClusterError(f"no cluster runs in {folder}: start one with `make cluster`")
    return NodeCluster(record) if record.level == NODE else ControlPlane(record)


def attach_kubeconfig(kubeconfig: Path) -> Cluster:
    """Return the cluster of a kubeconfig: one of `make cluster` with all that can be done to it, else a stranger's."""
    record = state.find(kubeconfig.absolute().parent)
    return attach(record.folder) if record and record.owner is None else Cluster(kubeconfig)


def end(cluster: LocalCluster, *, keep_logs: bool = False) -> None:
    """Stop a cluster that this process started; `keep_logs` leaves its logs."""
    stop(cluster.record, keep_logs=keep_logs)
    cluster.reap()


def stop(record: Record, *, keep_logs: bool = False) -> None:
    """End every process of the run and remove all that it made.

    Raises:
        ClusterError: naming what could not be removed; the record stays then, for another try.
    """
    # The first process of a node's namespaces counts as ended only when every other one in there has.
    processes = {identity.pid: identity for identity in (*record.components.values(), *marked(record.run))}
    left = [f"process {identity.pid}" for identity in end_all(list(processes.values()), 0)]
    if record.slice is not None:
        left += namespaces.remove(Slice(record.slice))
    if left:
        raise ClusterError(f"the cluster in {record.folder} could not be removed: {', '.join(left)} still there")
    _clear(record.folder, keep_logs=keep_logs)
    record.forget()


def stop_in(folder: Path) -> bool:
    """Stop the cluster that runs in `folder`; False when none does."""
    with state.locked():
        record = state.find(folder)
        if record is not None:
            stop(record)
        return record is not None


def sweep() -> None:
    """Remove every run whose launcher was killed."""
    for record in state.records():
        if record.abandoned():
            say(f"removing the cluster in {record.folder}: its launcher ended without doing so")
            try:
                stop(record, keep_logs=True)
            except ClusterError as error:  # no reason not to start another: the record keeps its place taken
                say(str(error))


def _begin(level: str, folder: Path, ports: Ports) -> Record:
    """Remove what earlier runs left, and write down that a new one begins."""
    folder = folder.absolute()
    owner = identify(os.getpid())
    record = Record(uuid.uuid4().hex, level, folder, ports, owner=owner)
    with state.locked():
        sweep()
        running = state.find(folder)
        if running is not None:
            raise ClusterError(f"a cluster runs in {folder} already: stop it with `make cluster-down`, or use another")
        _clear(folder, keep_logs=False)
        record.logs.mkdir(parents=True)
        record.save()
    return record


def _clear(folder: Path, *, keep_logs: bool) -> None:
    """Empty the folder of a cluster; with `keep_logs` the logs stay."""
    if keep_logs:
        for part in folder.iterdir() if folder.is_dir() else ():
            if part.name != "logs":
                shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
