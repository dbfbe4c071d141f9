"""A notification as its receiver reads it: a CloudEvent, an alert for Alertmanager's API v2, or a message for Slack."""

from typing import Any, Final

from serin.api.json import JsonObject
from serin.api.notifications import Happening, Notification
from serin.api.times import rfc3339
from serin.controller.reports import page_of, report_name
from serin.controller.webhooks import Format, cloud_event

# Seconds. Longer than it takes to give up, so that an alert that comes late is none that has ended.
_ALERT_LASTS: Final = 7200.0
_GRAVE: Final = frozenset(
    {Happening.ROLLED_BACK, Happening.ROLLBACK_FAILED, Happening.KILL_SWITCH, Happening.RETRAINING_FAILED}
)
# Slack's own three: anything else that somebody writes, <!channel> for example, is plain text then.
_SLACK: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def body_of(
    form: Format, deployment: JsonObject, one: Notification, dashboard: str = ""
) -> JsonObject | list[JsonObject]:
    """What is posted. `deployment`: as the API server has it. `dashboard`: the web page's address, "" without one."""
    namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    page = _page(dashboard, namespace, name, one)
    match form:
        case Format.ALERTMANAGER:
            return [_alert(namespace, name, one) | ({"generatorURL": page} if page else {})]
        case Format.SLACK:
            words = f"*{namespace}/{name}: {one.event}*\n{one.message}".translate(_SLACK)
            return {"text": f"{words}\n<{page}>" if page else words}
    data = _data(namespace, name, one) | ({"url": page} if page else {})
    return cloud_event((namespace, name), f"notification.{one.event}", one.at, one.snapshot or name, one.id, data)


def _data(namespace: str, name: str, one: Notification) -> JsonObject:
    row: dict[str, Any] = {
        "namespace": namespace,
        "modelDeployment": name,
        "event": one.event.value,
        "at": rfc3339(one.at),
        "reason": one.reason,
        "message": one.message,
    }
    more: dict[str, Any] = {
        "snapshot": one.snapshot,
        "rolledBackTo": one.target,
        "changed": list(one.changed),
        "metric": one.metric,
        "estimate": one.estimate,
        "interval": one.interval,
        "trouble": one.trouble,
        "report": _report(one),
    }
    return row | {key: value for key, value in more.items() if value}


def _page(dashboard: str, namespace: str, name: str, one: Notification) -> str:
    """Where people look: at the report of a rollback, else at the deployment; "" without a web page."""
    reported = one.snapshot if one.event is Happening.ROLLED_BACK else ""
    return page_of(dashboard, namespace, name, reported) if dashboard else ""


def _report(one: Notification) -> str:
    """The ConfigMap that a report of the rollback is written to, "" where there is none."""
    return report_name(one.snapshot, one.at) if one.event is Happening.ROLLED_BACK else ""


def _alert(namespace: str, name: str, one: Notification) -> JsonObject:
    """An alert for each event: another id is another alert, and the same one sent twice is one."""
    labels = {
        "alertname": f"Serin{one.event}",
        "severity": "warning" if one.event in _GRAVE else "info",
        "namespace": namespace,
        "modeldeployment": name,
        "snapshot": one.snapshot,
        "event_id": one.id,
    }
    told: dict[str, str] = {
        "summary": one.message,
        "reason": one.reason,
        "metric": one.metric,
        "estimate": one.estimate,
        "interval": one.interval,
        "changed": ", ".join(one.changed),
        "report": _report(one),
    }
    return {
        "labels": {key: value for key, value in labels.items() if value},
        "annotations": {key: value for key, value in told.items() if value},
        "startsAt": rfc3339(one.at),
        "endsAt": rfc3339(one.at + _ALERT_LASTS),
    }
