"""What a report says of pods: of the right version and time, one line for each reason, and never too much."""

from typing import Any

from serin.api.times import rfc3339
from serin.explain.document import Section
from serin.explain.pods import Pods, ends_in, section, warnings_in

AT = 1_790_000_000.0
MINE = "fraud-kqc6g48vnb"


def event(at: float, reason: str = "BackOff", *, pod: str = f"{MINE}-6b8f-x7k2p", **more: Any) -> dict[str, Any]:
    told = {"type": "Warning", "reason": reason, "note": "some words", "regarding": {"kind": "Pod", "name": pod}}
    return {**told, "eventTime": rfc3339(AT + at), **more}


def told(*events: dict[str, Any], snapshot: str = MINE, begun: float = -100.0) -> Section:
    return section(snapshot, Pods(warnings_in(events)), AT + begun, AT)


def test_what_is_kept_of_large_events_and_last_words_is_short() -> None:
    large = "x" * 1_000_000
    [warned] = warnings_in([event(-1.0, large, pod=large, note=large)])
    end = {"reason": large, "exitCode": 1, "finishedAt": rfc3339(AT), "message": large}
    status = {"containerStatuses": [{"name": "model", "state": {"terminated": end}}]}
    [ended] = ends_in([{"metadata": {"name": "fraud-1"}, "status": status}])
    for one in (warned, ended):
        assert len(one.pod) + len(one.reason) + len(one.message) < 1_000


def test_warnings_of_one_reason_are_one_line_with_the_newest_words() -> None:
    kubelet = {"eventTime": None, "deprecatedFirstTimestamp": rfc3339(AT - 40.0), "deprecatedCount": 7}
    kubelet["deprecatedLastTimestamp"] = rfc3339(AT - 2.0)
    series = {"count": 3, "lastObservedTime": rfc3339(AT - 5.0)}
    page = told(
        event(-30.0, "Unhealthy", note="Readiness probe failed: refused\n", series=series),
        event(-9.0, **kubelet, note="Back-off 10s"),
        event(-20.0, pod=f"{MINE}-6b8f-abcde", note="Back-off 5s"),
    )
    assert [row[1:] for row in page.rows] == [
        ("-40s", "BackOff", "8", "2", f"{MINE}-6b8f-x7k2p: Back-off 10s"),
        ("-30s", "Unhealthy", "3", "1", f"{MINE}-6b8f-x7k2p: Readiness probe failed: refused"),
    ]
    assert page.sentences == []


def test_it_is_of_this_version_and_of_its_time() -> None:
    lasts = {"series": {"count": 9, "lastObservedTime": rfc3339(AT - 1.0)}}
    others = (f"{MINE}a-6b8f-x7k2p", f"{MINE}-another000-6b8f-x7k2p", "fraud-xdkxz7bdmr-6b8f-x7k2p", MINE)
    page = told(
        *(event(-1.0, "Other", pod=pod) for pod in others),
        event(-200.0, "Before"),
        event(40.0, "After"),
        event(-1.0, "Normal", type="Normal"),
        event(-1.0, "Node", regarding={"kind": "Node", "name": f"{MINE}-6b8f-x7k2p"}),
        event(-1.0, "Timeless", eventTime=None),
        event(-200.0, "Lasting", **lasts),
        event(20.0, "JustAfter"),
    )
    assert [row[2] for row in page.rows] == ["Lasting", "JustAfter"]


def test_names_that_kubernetes_has_cut_are_known() -> None:
    snapshot = f"{'f' * 52}-kqc6g48vnb"
    pod = f"{snapshot}-6b8f46d5c-"[:58] + "x7k2p"
    assert len(told(event(-1.0, pod=pod), snapshot=snapshot).rows) == 1
    assert told(event(-1.0, pod=pod), snapshot=f"{'f' * 52}-another000").rows == []


def test_whatever_somebody_writes_there_is_an_end() -> None:
    reasons = [event(-1.0, f"Reason{number:03}", note="x" * 1024, series={"count": 10**9}) for number in range(1000)]
    page = told(*reasons)
    assert len(page.rows) == 20
    assert sum(len(cell) for row in page.rows for cell in row) < 20 * 600


def test_how_containers_have_ended() -> None:
    def container(name: str, **state: Any) -> dict[str, Any]:
        return {"name": name, **state}

    def terminated(code: int, **more: Any) -> dict[str, Any]:
        return {"terminated": {"exitCode": code, "finishedAt": rfc3339(AT - 3.0), **more}}

    oom = container("model", lastState=terminated(137, reason="OOMKilled"), state={"running": {}})
    fetch = container("fetch", state=terminated(1, reason="Error", message="no such model\n"))
    fine = container("done", state=terminated(0, reason="Completed"))
    status = {"initContainerStatuses": [fetch, fine], "containerStatuses": [oom]}
    pods = [{"metadata": {"name": f"{MINE}-6b8f-x7k2p"}, "status": status}, {"metadata": {"name": "new"}}]
    page = section(MINE, Pods(ends_in(pods)), AT - 100.0, AT)
    assert sorted(row[2:] for row in page.rows) == [
        ("Error", "1", "1", f"{MINE}-6b8f-x7k2p: container fetch exited with code 1: no such model"),
        ("OOMKilled", "1", "1", f"{MINE}-6b8f-x7k2p: container model exited with code 137"),
    ]


def test_what_is_not_known_is_said() -> None:
    assert section(MINE, Pods(), AT, AT).sentences == [
        "No warnings about its pods are known; Kubernetes keeps Events for an hour."
    ]
    assert section(MINE, Pods(unread="events is forbidden"), AT, AT).sentences == [
        "Events of its pods could not be read: events is forbidden"
    ]
    assert "more Events" in section(MINE, Pods(warnings_in([event(-1.0)]), cut=True), AT - 9.0, AT).sentences[0]
