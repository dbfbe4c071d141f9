"""The command behind `make cluster`; `python -m tests.cluster --help` lists what it can do."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from tests.cluster import binaries, kind, launcher
from tests.cluster.cache import say
from tests.cluster.errors import ClusterError, ComponentFailed
from tests.cluster.local import LocalCluster
from tests.cluster.state import CONTROL_PLANE, NODE

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / ".serin" / "cluster"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 with the reason on standard error when not."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except ClusterError as error:
        print(f"serin: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A Kubernetes cluster for tests.")
    parser.add_argument("--dir", type=Path, default=DEFAULT_FOLDER, help="the cluster's folder (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start a cluster and leave it running")
    up.add_argument("--level", choices=(CONTROL_PLANE, NODE), default=NODE, help="default: %(default)s")
    up.add_argument("--nodes", type=int, default=1, help="simulated nodes of a control plane (default: 1)")
    up.set_defaults(run=_up)
    commands.add_parser("down", help="stop the cluster and remove all of it").set_defaults(run=_down)
    commands.add_parser("status", help="say which components run").set_defaults(run=_status)
    commands.add_parser("kubeconfig", help="print the path of the kubeconfig").set_defaults(run=_kubeconfig)
    kubectl = commands.add_parser("kubectl", help="run the pinned kubectl against the cluster")
    kubectl.add_argument("words", nargs=argparse.REMAINDER)
    kubectl.set_defaults(run=_kubectl)
    load = commands.add_parser("image-load", help="load an image archive into the node")
    load.add_argument("archive", type=Path)
    load.set_defaults(run=_image_load)
    commands.add_parser("kind", help="make a cluster with kind, where Docker runs").set_defaults(run=_kind)
    return parser


def _up(options: argparse.Namespace) -> None:
    began = time.monotonic()
    folder = options.dir
    if _runs(folder, options.level):
        say(f"the cluster in {folder} runs already")
    elif options.level == NODE:
        launcher.release(launcher.start_node_cluster(folder))
    else:
        launcher.release(launcher.start_control_plane(folder, nodes=options.nodes))
    cluster = launcher.attach(folder)
    say(f"ready after {time.monotonic() - began:.1f} s; logs in {cluster.logs_dir}")
    print(cluster.kubectl("get", "nodes"), end="")
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")


def _runs(folder: Path, level: str) -> bool:
    """Whether a whole cluster of this level runs there; what is left of a broken one is removed."""
    try:
        cluster = launcher.attach(folder)
    except ClusterError:
        return False
    if cluster.record.owner is not None:
        return False  # `_begin` says that somebody is starting it, or removes it if they died
    try:
        cluster.check_all()
    except ComponentFailed as failure:
        say(f"the cluster in {folder} is broken and is started anew: {failure}")
        launcher.stop_in(folder)
        return False
    if cluster.record.level != level:
        raise ClusterError(f"a cluster of level {cluster.record.level} runs in {folder}: `make cluster-down` stops it")
    return True


def _down(options: argparse.Namespace) -> None:
    say(
        f"the cluster in {options.dir} is gone"
        if launcher.stop_in(options.dir)
        else f"no cluster runs in {options.dir}"
    )


def _status(options: argparse.Namespace) -> int:
    cluster = launcher.attach(options.dir)
    broken = 0
    for name, sentence in cluster.status().items():
        broken += sentence != "ready"
        print(f"{name:<25} {sentence}")
    return 1 if broken else 0


def _kubeconfig(options: argparse.Namespace) -> None:
    print(launcher.attach(options.dir).kubeconfig)


def _kubectl(options: argparse.Namespace) -> int:
    cluster: LocalCluster = launcher.attach(options.dir)
    return binaries.run_in_terminal([*cluster.kubectl_command(), f"--kubeconfig={cluster.kubeconfig}", *options.words])


def _image_load(options: argparse.Namespace) -> None:
    began = time.monotonic()
    launcher.attach(options.dir).load_image(options.archive)
    say(f"{options.archive.name} loaded in {time.monotonic() - began:.1f} s")


def _kind(_: argparse.Namespace) -> None:
    print(f"export SERIN_TEST_KUBECONFIG={shlex.quote(str(kind.create(DEFAULT_FOLDER.parent / 'kind')))}")


if __name__ == "__main__":
    sys.exit(main())
