"""A cluster made by kind, for machines where Docker runs; `SERIN_TEST_KUBECONFIG` then points the tests at it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster.cache import say
from tests.cluster.errors import ClusterError, Unavailable

NAME = "serin-test"


def create(folder: Path) -> Path:
    """Return the kubeconfig of the kind cluster `serin-test`, which is made unless it exists.

    Raises:
        Unavailable: when kind or a running Docker is missing.
    """
    _require()
    folder.mkdir(parents=True, exist_ok=True)
    kubeconfig = folder / "kubeconfig"
    existing = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=True).stdout.split()
    words = ["export", "kubeconfig"] if NAME in existing else ["create", "cluster", "--wait", "180s"]
    say(f"kind {' '.join(words)} --name {NAME}")
    done = subprocess.run(["kind", *words, "--name", NAME, "--kubeconfig", str(kubeconfig)], check=False)
    if done.returncode:
        raise ClusterError(f"kind {' '.join(words)} failed; what it said is above")
    say(f"remove it with `kind delete cluster --name {NAME}`")
    return kubeconfig


def _require() -> None:
    """Raise Unavailable unless a kind cluster can be made here."""
    if not shutil.which("docker"):
        raise Unavailable(
            "kind needs Docker, and there is no `docker` on PATH; `make cluster` needs no container engine"
        )
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False, env={**os.environ})
    if answer.returncode:
        reason = (answer.stderr.strip() or answer.stdout.strip()).splitlines()[-1:]
        raise Unavailable(
            f"kind needs a running Docker, and `docker info` fails: {' '.join(reason)}; "
            "`make cluster` needs no container engine"
        )
    if not shutil.which("kind"):
        raise Unavailable("there is no `kind` on PATH: `go install sigs.k8s.io/kind@v0.31.0` installs it")
