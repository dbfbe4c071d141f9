"""What the processes of a run share: a folder, one node cluster, and turns at it.

Tests of the node cluster wait for pods and for evidence, so two processes run them side by side. Each module has
namespaces of its own; a module that stops what all of them use (Prometheus, the API server, Serin itself) or counts
what all of them do is marked `alone`, and no other module of the cluster runs beside it.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from tests.cluster import launcher
from tests.cluster.node_cluster import NodeCluster
from tests.cluster.processes import Identity, identify

T = TypeVar("T")

FOLDER = "SERIN_TEST_RUN"
"""Names the folder that the processes of a run share; unset where there is only one."""


NODE = "node_cluster"
"""The fixture that the processes of a run share."""


def folder() -> Path | None:
    """The folder of the run; None: this process is all of it."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else None


@contextmanager
def locked(name: str, *, alone: bool = True) -> Iterator[None]:
    """Keep others out while the block runs: everybody, or whoever wants to be `alone`."""
    shared = folder()
    if shared is None:
        yield
        return
    with (shared / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Use the node cluster beside others, or `alone`. They come in the order in which they ask."""
    with ExitStack() as held:
        with locked("gate"):
            held.enter_context(locked("turn", alone=alone))
        yield


def once(name: str, make: Callable[[], None]) -> None:
    """Do what one process does for all of them."""
    shared = folder()
    done = shared / f"{name}.done" if shared else None
    with locked(name):
        if done is None or not done.exists():
            make()
            if done is not None:
                done.touch()


def kept(name: str, make: Callable[[], T]) -> T:
    """What takes long to make, made by the first process that asks for it. Not to be changed: others get it too."""
    shared = folder()
    if shared is None:
        return make()
    place = shared / name
    if not place.exists():
        scratch = place.with_name(f"{name}.{os.getpid()}")
        scratch.write_bytes(pickle.dumps(make()))
        scratch.rename(place)
    found: T = pickle.loads(place.read_bytes())
    return found


@contextmanager
def node_cluster(own: Path) -> Iterator[NodeCluster]:
    """The cluster of the run: started by the first that needs it (in `own`, if it is alone), ended by the last."""
    shared = folder()
    if shared is None:
        cluster = launcher.start_node_cluster(own)
        yield cluster
        launcher.end(cluster, keep_logs=True)
        return
    me = identify(os.getpid())
    assert me is not None
    with locked("node-cluster"):
        cluster = _join(shared, own)
        _write(shared, [*_users(shared), me])
    yield cluster
    with locked("node-cluster"):
        left = [one for one in _users(shared) if one != me]
        _write(shared, left)
        if not left:
            launcher.end(cluster, keep_logs=True)


def _join(shared: Path, own: Path) -> NodeCluster:
    place = shared / "node-cluster"  # a link: the path of a kubelet's sockets must be short
    if _users(shared):
        cluster = launcher.attach(place.resolve())
        assert isinstance(cluster, NodeCluster)
        return cluster
    cluster = launcher.start_node_cluster(own)
    # Whoever started it may end before the others do.
    launcher.hand_over(cluster, os.getppid())
    place.unlink(missing_ok=True)
    place.symlink_to(own)
    for done in shared.glob("*.done"):  # what was done to an earlier one
        done.unlink()
    return cluster


def _users(shared: Path) -> list[Identity]:
    """Who uses the cluster and has not died."""
    place = shared / "users.json"
    known = [Identity(**one) for one in json.loads(place.read_text())] if place.exists() else []
    return [one for one in known if one.alive()]


def _write(shared: Path, users: list[Identity]) -> None:
    (shared / "users.json").write_text(json.dumps([asdict(one) for one in users]))
