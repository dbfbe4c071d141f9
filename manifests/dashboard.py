"""Grafana's dashboard of Serin: the rows and queries, from which `make manifests` writes the JSON in the chart."""

import json
from collections.abc import Sequence
from typing import Any, Final

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT = 8, 8
_CHOSEN = 'serin_namespace=~"$namespace", serin_model_deployment=~"$deployment"'
# What counts as a version's own request: not what it answered in another one's place (routers/envoy/series.py).
_OWN = f'{_CHOSEN}, serin_attempt!="shield", serin_attempt!="unkeyed"'
_VERSION = "serin_namespace, serin_model_deployment, serin_snapshot"
_NAME = "{{serin_model_deployment}}: {{serin_snapshot}}"


def _rate(series: str, chosen: str = _OWN, by: str = _VERSION) -> str:
    return f"sum by ({by}) (rate({series}{{{chosen}}}[$__rate_interval]))"


def _share(bad: str, total: str, chosen: str = _OWN, by: str = _VERSION) -> str:
    """A share in which a version without a bad request is 0, and not missing."""
    return f"({_rate(bad, chosen, by)} or 0 * {_rate(total, chosen, by)}) / {_rate(total, chosen, by)}"


def _latency(quantile: str) -> str:
    buckets = _rate("envoy_serin_milliseconds_bucket", by=f"{_VERSION}, le")
    return f"histogram_quantile({quantile}, {buckets})"


_DEPLOYMENT = "serin_namespace, serin_model_deployment"
_OF_DEPLOYMENT = "{{serin_namespace}}/{{serin_model_deployment}}"

_MEASURED: Final = "To the end of the answer; of event streams to their first byte."

# Title, unit, what it tells, and the queries with their legends.
_TRAFFIC: Final = (
    ("Requests by version", "reqps", "Requests that were sent to each version, without those in which stable answered "
     "in the candidate's place.", ((_rate("envoy_serin_attempts"), _NAME),)),
    ("Share of the traffic", "percentunit", "What each version got of its deployment's requests.",
     ((f"{_rate('envoy_serin_attempts')} / on ({_DEPLOYMENT}) group_left () "
       f"{_rate('envoy_serin_attempts', by=_DEPLOYMENT)}", _NAME),)),
    ("Failures by version", "percentunit", "Of the requests that were sent to a version, also those that stable "
     "answered afterwards.", ((_share("envoy_serin_failures", "envoy_serin_attempts"), _NAME),)),
    ("Failures that clients saw", "percentunit", "Of all answers, after the shield.",
     ((_share("envoy_serin_answer_failures", "envoy_serin_answers", _CHOSEN, _DEPLOYMENT), _OF_DEPLOYMENT),)),
    ("Shielded requests", "reqps", "Requests that stable answered after the candidate had failed them.",
     ((_rate("envoy_serin_attempts", f'{_CHOSEN}, serin_attempt="shield"', _DEPLOYMENT), _OF_DEPLOYMENT),)),
    ("Rejections by version", "percentunit", "4xx and the like, which are no failures.",
     ((_share("envoy_serin_rejections", "envoy_serin_attempts"), _NAME),)),
    ("Latency, median", "ms", _MEASURED, ((_latency("0.5"), _NAME),)),
    ("Latency, 99 %", "ms", _MEASURED, ((_latency("0.99"), _NAME),)),
)  # fmt: skip
_OPERATOR: Final = (
    ("Leader", "short", "1 on the replica that leads.", (("serin_leader", "{{pod}}"),)),
    ("Rollouts", "short", "Under evaluation now, and ended in the last hour.",
     (("max(serin_rollouts_in_progress)", "in progress"),
      ("sum(increase(serin_promotions_total[1h]))", "promoted"),
      ("sum by (reason) (increase(serin_rollbacks_total[1h]))", "rolled back: {{reason}}"))),
    ("Reconciles", "ops", "How they ended.",
     (("sum by (outcome) (rate(serin_reconciles_total[$__rate_interval]))", "{{outcome}}"),)),
    ("Duration of a reconcile", "s", "99 % take less.",
     (("histogram_quantile(0.99, sum by (le) (rate(serin_reconcile_seconds_bucket[$__rate_interval])))", "reconcile"),
      ("histogram_quantile(0.99, sum by (le) (rate(serin_tick_seconds_bucket[$__rate_interval])))", "evidence"))),
    ("Queue", "short", "Deployments that are due and wait for a worker.", (("sum(serin_queue_waiting)", "waiting"),)),
    ("Requests to the API server", "reqps", "By their answer; 0: none.",
     (("sum by (code) (rate(serin_api_requests_total[$__rate_interval]))", "{{code}}"),)),
    ("New weights reach every router pod", "s", "99 % take less.",
     (("histogram_quantile(0.99, sum by (le) (rate(serin_route_propagation_seconds_bucket[$__rate_interval])))",
       "propagation"),)),
    ("Router pods", "short", "That ask an operator for their configuration, and that serve unheard.",
     (("sum(serin_router_envoys)", "connected"), ("max(serin_router_pods_unheard)", "unheard"))),
    ("Problems", "short", "Everything here is 0 when all is well.",
     (("sum(serin_lowered_in_memory)", "lowered in memory"),
      ("sum(increase(serin_xds_denied_total[$__rate_interval]))", "xDS denied"),
      ("sum(increase(serin_events_dropped_total[$__rate_interval]))", "Events dropped"),
      ("max(abs(serin_prometheus_clock_skew_seconds))", "clock skew in seconds"))),
)  # fmt: skip


def dashboard() -> str:
    """The JSON that Grafana imports."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in (("What the versions do", _TRAFFIC), ("Serin itself", _OPERATOR)):
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": []}
                      | {"gridPos": {"x": 0, "y": top, "w": 24, "h": 1}})  # fmt: skip
        for number, (name, unit, about, queries) in enumerate(row):
            place = {"x": number % 3 * _WIDTH, "y": top + 1 + number // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            panels.append(_panel(len(panels) + 1, name, unit, about, queries, place))
        top += 1 + -(-len(row) // 3) * _HEIGHT
    page = {
        "uid": "serin",
        "title": "Serin: model rollouts",
        "description": "What each version of a model serves, and how the operator does. Made by `make manifests`.",
        "tags": ["serin", "machine-learning"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": _variables()},
        "panels": panels,
    }
    return json.dumps(page, indent=1) + "\n"


def _panel(
    number: int, title: str, unit: str, about: str, queries: Sequence[tuple[str, str]], place: dict[str, int]
) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
        for at, (expression, legend) in enumerate(queries)
    ]
    defaults: dict[str, Any] = {"unit": unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}}
    if title == "Share of the traffic":
        defaults |= {"max": 1, "custom": {"fillOpacity": 40, "showPoints": "never", "stacking": {"mode": "normal"}}}
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return [source, *(
        {"name": name, "type": "query", "label": label, "datasource": SOURCE, "refresh": 2, "sort": 1}
        | {"includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
        | {"query": {"query": query, "refId": name}, "definition": query}
        for name, label, query in (
            ("namespace", "Namespace", "label_values(envoy_cluster_membership_total, serin_namespace)"),
            ("deployment", "Model deployment",
             'label_values(envoy_cluster_membership_total{serin_namespace=~"$namespace"}, serin_model_deployment)'),
        )
    )]  # fmt: skip
