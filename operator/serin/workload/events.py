"""Events of pods: what the kubelet could not do stands nowhere else (volumes, the network, why a probe fails)."""

from collections.abc import Iterable

from serin.api.json import JsonObject


def newest_warnings(events: Iterable[JsonObject]) -> dict[str, str]:
    """The newest warning about each pod, by the pod's name. `events`: of events.k8s.io/v1, about pods."""
    found: dict[str, tuple[str, str]] = {}
    for event in events:
        name, at = str((event.get("regarding") or {}).get("name", "")), _moment(event)
        note = str(event.get("note") or "").strip()
        if event.get("type") == "Warning" and at >= found.get(name, ("", ""))[0]:
            found[name] = at, f"{event.get('reason', 'Warning')}: {note}".rstrip(": ")
    return {name: told for name, (_, told) in found.items()}


def _moment(event: JsonObject) -> str:
    """When it was last seen. RFC 3339 in UTC, so that text sorts as time."""
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("deprecatedLastTimestamp")
    return str(last or event.get("eventTime") or "")
