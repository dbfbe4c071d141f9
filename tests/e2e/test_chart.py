"""What the chart's users try first, on pods that really run: its own test, and the web page."""

import re
import shlex
import subprocess
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

from tests.cluster.ports import free_port
from tests.crds import ROOT
from tests.documented import Terminal
from tests.e2e.install import Installation

DASHBOARD = ROOT / "docs" / "dashboard.md"


def test_helm_test_says_that_operator_router_and_web_page_are_ready(
    serin: Installation, helm: Path, tmp_path: Path
) -> None:
    terminal = Terminal(serin.cluster, helm, tmp_path)
    said = terminal("helm test serin -n serin-system --timeout 2m")
    assert "Phase:          Succeeded" in said
    assert "serin-test" not in terminal("kubectl -n serin-system get pods -o name"), "it is removed when it succeeds"


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_the_web_page_opens_by_the_docs_port_forward(serin: Installation) -> None:
    [command] = re.findall(r"^kubectl (.* port-forward svc/serin-dashboard 8443:443)$", DASHBOARD.read_text(), re.M)
    port = free_port()
    words = shlex.split(command.replace("8443:", f"{port}:"))
    forwarding = subprocess.Popen(
        [*serin.cluster.kubectl_command(), f"--kubeconfig={serin.cluster.kubeconfig}", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert forwarding.stdout is not None
        assert forwarding.stdout.readline().startswith("Forwarding from ")
        # The certificate is one that the pod has made for itself, as the docs say.
        page = requests.get(f"https://localhost:{port}/", verify=False, timeout=30)
        assert page.status_code == HTTPStatus.UNAUTHORIZED
        assert "<h1>Sign in</h1>" in page.text
    finally:
        forwarding.terminate()
        forwarding.wait(10)
