"""What discovery says of pods, and that Debian's Prometheus takes the configuration (scraping: see the node tests)."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster.discovery import targets
from tests.cluster.packages import program
from tests.cluster.prometheus import configuration

pytestmark = pytest.mark.usefixtures("debian_packages")

POD = {
    "metadata": {
        "namespace": "shop",
        "name": "fraud-1",
        "uid": "u",
        "labels": {"serin.dev/model-deployment": "fraud", "serin.dev/snapshot": "fraud-5c9f"},
        "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8082"},
    },
    "spec": {"nodeName": "n"},
    "status": {"podIP": "198.18.0.7", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}


def test_a_pod_is_described_in_the_words_of_kubernetes_discovery() -> None:
    (target,) = targets([POD])
    assert target["targets"] == ["198.18.0.7"]
    expected = {
        "__meta_kubernetes_namespace": "shop",
        "__meta_kubernetes_pod_name": "fraud-1",
        "__meta_kubernetes_pod_ip": "198.18.0.7",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_ready": "true",
        "__meta_kubernetes_pod_annotation_prometheus_io_port": "8082",
        "__meta_kubernetes_pod_label_serin_dev_snapshot": "fraud-5c9f",
        "__meta_kubernetes_pod_labelpresent_serin_dev_snapshot": "true",
    }
    assert expected.items() <= target["labels"].items()


def test_a_pod_without_an_address_is_no_target() -> None:
    assert targets([{**POD, "status": {"phase": "Pending"}}]) == []


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "prometheus.json").write_text(json.dumps(configuration(2)))
    promtool = Path(program("prometheus")).with_name("promtool")
    checked = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.json")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
