"""Alerts and dashboard: each alert played by promtool, and what the chart makes of them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests.dashboard import dashboard
from manifests.generate import CHART, DASHBOARD, KUBERNETES

PROMETHEUS_OPERATOR = ("--api-versions", "monitoring.coreos.com/v1")
ALL = ("podMonitors", "rules", "dashboard")

pytestmark = pytest.mark.usefixtures("debian_packages")

ROUTER = 'namespace="serin-system", pod="r"'
MODEL = 'serin_namespace="shop", serin_model_deployment="fraud"'
WELL = {
    'serin_leader{pod="a"}': "1x60",
    'serin_leader{pod="b"}': "0x60",
    'serin_rollbacks_total{pod="a", reason="WorseThanStable"}': "7x60",
    'serin_rollback_outcomes_total{pod="a", outcome="NotRecovered"}': "2x60",
    'serin_rollback_outcomes_total{pod="a", outcome="Recovered"}': "5x30 6x30",
    'serin_reconciles_total{pod="a", outcome="failed"}': "3x60",
    "serin_lowered_in_memory": "0x60",
    "serin_rollouts_in_progress": "2x60",
    "serin_ticks_total": "0+10x60",
    "serin_prometheus_clock_skew_seconds": "-1x60",
    "serin_queue_waiting": "3x60",
    "serin_router_pods_unheard": "0x60",
    "serin_xds_denied_total": "4x60",
    f"envoy_listener_manager_lds_update_rejected{{{ROUTER}}}": "1x60",
    f"envoy_cluster_manager_cds_update_rejected{{{ROUTER}}}": "1x60",
    f"envoy_overload_envoy_overload_actions_stop_accepting_requests_active{{{ROUTER}}}": "0x60",
    f"envoy_connection_limit_serin_clients_limited_connections{{{ROUTER}}}": "9x60",
    f"envoy_serin_attempts{{{ROUTER}, {MODEL}}}": "0+100x60",
    f"envoy_serin_unchecked{{{ROUTER}, {MODEL}}}": "3x60",
    f"envoy_serin_inputs_unchecked{{{ROUTER}, {MODEL}}}": "3x60",
    f"envoy_serin_answers{{{ROUTER}, {MODEL}}}": "0+100x60",
    f"envoy_serin_answer_failures{{{ROUTER}, {MODEL}}}": "0+4x60",
}
"""A minute between two values. Old incidents are over, and some failures are no incident."""

WORSE: dict[str, dict[str, str]] = {
    "SerinNoLeader": {'serin_leader{pod="a"}': "1x20 0x40"},
    "SerinRollback": {'serin_rollbacks_total{pod="a", reason="WorseThanStable"}': "7x52 8x8"},
    "SerinRollbackHasNotHelped": {'serin_rollback_outcomes_total{pod="a", outcome="NotRecovered"}': "2x52 3x8"},
    "SerinReconcileErrors": {'serin_reconciles_total{pod="a", outcome="failed"}': "3x20 4+1x40"},
    "SerinLoweredInMemory": {"serin_lowered_in_memory": "0x50 1x10"},
    "SerinNoEvidence": {"serin_ticks_total": "0+10x20 200x40"},
    "SerinPrometheusClockSkew": {"serin_prometheus_clock_skew_seconds": "-1x20 -30x40"},
    "SerinQueueBacklog": {"serin_queue_waiting": "3x20 80x40"},
    "SerinRouterPodsUnheard": {"serin_router_pods_unheard": "0x40 1x20"},
    "SerinRouterDenied": {"serin_xds_denied_total": "4x20 5+1x40"},
    "SerinRouterRefusesConfiguration": {f"envoy_listener_manager_lds_update_rejected{{{ROUTER}}}": "1x55 2x5"},
    "SerinRouterOverloaded": {
        f"envoy_overload_envoy_overload_actions_stop_accepting_requests_active{{{ROUTER}}}": "0x55 1x5"
    },
    "SerinConnectionsRefused": {f"envoy_connection_limit_serin_clients_limited_connections{{{ROUTER}}}": "9x55 20x5"},
    "SerinAnswersUnchecked": {f"envoy_serin_unchecked{{{ROUTER}, {MODEL}}}": "3x40 4+2x20"},
    "SerinInputsUnchecked": {f"envoy_serin_inputs_unchecked{{{ROUTER}, {MODEL}}}": "3x40 4+2x20"},
    "SerinHighErrorRate": {f"envoy_serin_answer_failures{{{ROUTER}, {MODEL}}}": "0+4x40 170+10x20"},
}


def rendered(helm: Path, *words: str) -> list[dict[str, Any]]:
    command = [str(helm), "template", "serin", str(CHART), "-n", "serin-system", "--kube-version", KUBERNETES, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def enabled(helm: Path, *words: str) -> dict[tuple[str, str], dict[str, Any]]:
    settings = [word for one in ALL for word in ("--set", f"monitoring.{one}.enabled=true")]
    found = rendered(helm, *PROMETHEUS_OPERATOR, *settings, *words)
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def groups(helm: Path) -> dict[str, Any]:
    spec: dict[str, Any] = enabled(helm)["PrometheusRule", "serin"]["spec"]
    return spec


def alerts_of(spec: dict[str, Any]) -> set[str]:
    return {rule["alert"] for group in spec["groups"] for rule in group["rules"]}


def promtool(folder: Path, spec: dict[str, Any], series: dict[str, str], firing: set[str]) -> str:
    """What promtool says is wrong when exactly these alerts are expected after 58 minutes; empty: nothing."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(spec))
    expectations = [
        {"expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)', "eval_time": "58m"}
        | {"exp_samples": [{"labels": "{}", "value": int(name in firing)}]}
        for name in sorted(alerts_of(spec))
    ]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": expectations,
            }
        ],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(test))
    command = ["promtool", "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_alert_fires_alone_and_none_when_all_is_well(helm: Path, tmp_path: Path) -> None:
    spec = groups(helm)
    assert promtool(tmp_path, spec, WELL, set()) == ""
    assert WORSE.keys() == alerts_of(spec), "an alert without a story"
    for alert, series in WORSE.items():
        assert series.keys() <= WELL.keys(), alert
        assert promtool(tmp_path, spec, WELL | series, {alert}) == "", alert


def test_the_first_rollback_of_all_is_told(helm: Path, tmp_path: Path) -> None:
    """Its series begins with 1, so that nothing has increased."""
    first = {'serin_rollbacks_total{pod="c", reason="Unschedulable"}': "_x52 1x8"}
    assert promtool(tmp_path, groups(helm), WELL | first, {"SerinRollback"}) == ""
    outcome = {'serin_rollback_outcomes_total{pod="c", outcome="NotRecovered"}': "_x52 1x8"}
    assert promtool(tmp_path, groups(helm), WELL | outcome, {"SerinRollbackHasNotHelped"}) == ""


def test_an_operator_that_is_gone_is_told(helm: Path, tmp_path: Path) -> None:
    others = {name: values for name, values in WELL.items() if not name.startswith("serin_")}
    assert promtool(tmp_path, groups(helm), others, {"SerinNoLeader"}) == ""


def test_the_docs_tell_every_alert(helm: Path) -> None:
    page = (CHART.parents[1] / "docs" / "monitoring.md").read_text()
    assert set(re.findall(r"`(Serin\w+)`", page)) == alerts_of(groups(helm))


def test_the_dashboard_is_up_to_date_and_its_panels_do_not_overlap() -> None:
    assert DASHBOARD.read_text() == dashboard(), "run `make manifests`"
    panels = json.loads(dashboard())["panels"]
    assert len({one["id"] for one in panels}) == len(panels) > 10
    taken: dict[tuple[int, int], str] = {}
    for one in panels:
        place = one["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert taken.setdefault((x, y), one["title"]) == one["title"], one["title"]


def test_the_chart_has_them_where_they_are_asked_for_alone(helm: Path) -> None:
    kinds = {one["kind"] for one in rendered(helm)}
    assert not kinds & {"PodMonitor", "PrometheusRule"}
    label, folder = "--set-string=monitoring.dashboard.labels.team=7", "monitoring.dashboard.annotations.folder=ML"
    found = enabled(helm, label, "--set", folder, "--set", "monitoring.rules.labels.release=kube")
    config = found["ConfigMap", "serin-dashboard"]
    assert config["data"] == {"serin.json": dashboard().rstrip("\n")}
    assert config["metadata"]["labels"].items() >= {"grafana_dashboard": "1", "team": "7"}.items()
    assert config["metadata"]["annotations"] == {"folder": "ML"}
    assert found["PrometheusRule", "serin"]["metadata"]["labels"]["release"] == "kube"
    assert 'envoy_serin_answers{namespace="serin-system"}' in json.dumps(groups(helm)).replace('\\"', '"')


def test_label_matchers_may_have_any_text(helm: Path) -> None:
    matchers = 'job="a: b", pod=~"x #.*"'
    found = enabled(helm, "--set-json", f"prometheus.routerMatchers={json.dumps(matchers)}")
    rules = [rule for group in found["PrometheusRule", "serin"]["spec"]["groups"] for rule in group["rules"]]
    assert sum(f"{{{matchers}}}" in rule["expr"] for rule in rules) == 6


@pytest.mark.parametrize("name", ["serin-operator", "serin-router"])
def test_pod_monitors_scrape_what_the_annotations_say_and_replace_them(helm: Path, name: str) -> None:
    [before] = [one for one in rendered(helm) if (one["kind"], one["metadata"]["name"]) == ("Deployment", name)]
    annotations = before["spec"]["template"]["metadata"]["annotations"]
    objects = enabled(helm, "--set", "monitoring.podMonitors.interval=15s")
    pod = objects["Deployment", name]["spec"]["template"]
    assert not [one for one in pod["metadata"].get("annotations", {}) if one.startswith("prometheus.io/")]
    monitor = objects["PodMonitor", name]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    [endpoint] = monitor["podMetricsEndpoints"]
    ports = {one["name"]: one["containerPort"] for one in pod["spec"]["containers"][0]["ports"]}
    assert str(ports[endpoint["port"]]) == annotations["prometheus.io/port"]
    assert (endpoint["path"], endpoint["interval"]) == (annotations["prometheus.io/path"], "15s")


@pytest.mark.parametrize("what", ["podMonitors", "rules"])
def test_they_are_refused_where_their_definitions_are_missing(helm: Path, what: str) -> None:
    command = [str(helm), "template", "serin", str(CHART), "--kube-version", KUBERNETES]
    done = subprocess.run(
        [*command, "--set", f"monitoring.{what}.enabled=true"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "need Prometheus Operator's definitions" in done.stderr
