"""Commands of the docs, run as they are written there."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from tests.cluster.access import Cluster
from tests.crds import ROOT

OPERATIONS = ROOT / "docs" / "operations.md"


class Terminal:
    """A shell in the checkout, with the cluster's kubectl, helm and kubeconfig.

    `namespace` stands in for `shop`, and files that commands write lie in `folder`.
    """

    def __init__(self, cluster: Cluster, helm: Path, folder: Path, *, namespace: str = "shop") -> None:
        self._folder, self._namespace = folder, namespace
        for name, words in {"helm": [str(helm)], "kubectl": cluster.kubectl_command()}.items():
            program = folder / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            program.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        self._environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PATH": path}

    def __call__(self, script: str) -> str:
        """Run a script until its first error; returns what it prints."""
        text = script.replace("values.yaml", str(self._folder / "values.yaml"))
        text = re.sub(r"-n shop\b", f"-n {self._namespace}", text)
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def documented(self, heading: str, more: str = "") -> str:
        """Run the commands below a heading of docs/operations.md; `more`: further words for the last one."""
        section = OPERATIONS.read_text().split(f"\n{heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
        [script] = re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)
        return self(f"{script} {more}")
