"""What is kept in memory goes on from one written status, and is void with another one."""

from serin.api.json import JsonObject
from serin.controller.unwritten import Unwritten

KEY = ("shop", "fraud")


def body(version: int, status: JsonObject, uid: str = "1") -> JsonObject:
    metadata = {"namespace": "shop", "name": "fraud", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}, "status": status}


def test_what_is_kept_is_gone_on_from() -> None:
    kept = Unwritten(lambda: 30.0, lambda: 5.0)
    kept.keep(body(1, {"reason": "Baking"}), {"reason": "Baking", "lookedAt": "now"})
    changed = body(2, {"reason": "Baking"})  # its spec: the status is the same
    assert kept.status_of(changed) == {"reason": "Baking", "lookedAt": "now"}
    assert kept.written(changed).status == {"reason": "Baking"}


def test_another_written_status_ends_it() -> None:
    kept = Unwritten(lambda: 30.0, lambda: 5.0)
    first = body(1, {"reason": "Baking"})
    kept.keep(first, {"reason": "Baking", "lookedAt": "now"})
    assert kept.status_of(body(2, {"reason": "Serving"})) == {"reason": "Serving"}
    assert kept.status_of(first) == {"reason": "Baking"}


def test_another_deployment_of_the_name_has_nothing_of_it() -> None:
    kept = Unwritten(lambda: 30.0, lambda: 5.0)
    kept.keep(body(1, {}), {"lookedAt": "now"})
    assert kept.status_of(body(2, {}, uid="2")) == {}
    kept.keep(body(3, {}), {"lookedAt": "now"})
    kept.forget(KEY)
    assert kept.status_of(body(3, {})) == {}


def test_a_new_leader_has_written_nothing_and_waits_as_if_it_had() -> None:
    """Or a thousand rollouts would be written in its first second."""
    now = 5.0
    kept = Unwritten(lambda: 30.0, lambda: now)
    assert kept.written(body(1, {})).at == 5.0
    now = 9.0
    kept.wrote(KEY)
    assert kept.written(body(1, {})).at == 9.0
    kept.forget(KEY)
    assert kept.written(body(1, {})).at == 5.0


def test_deployments_have_their_turns_at_different_moments() -> None:
    kept = Unwritten(lambda: 30.0, lambda: 5.0)
    phases = [kept.written({"metadata": {"namespace": "shop", "name": f"m{number}"}}).phase for number in range(100)]
    assert all(0.0 <= one < 1.0 for one in phases)
    tenths = [sum(one // 0.1 == part for one in phases) for part in range(10)]
    assert min(tenths) >= 3
