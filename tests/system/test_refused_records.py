"""A record that the API server refuses (its CRD is older, for example) holds up neither promotion nor rollback."""

from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.verdicts import SnapshotVerdict
from serin.cluster import kinds
from tests.simulation.api.faults import Fault, Request
from tests.system.stage import BAD, Stage, play


class Refusing:
    """Refuses what is written onto a snapshot first; what is written in its place is taken."""

    def __init__(self) -> None:
        self.refused = 0
        self._last = False

    def __call__(self, request: Request) -> Fault | None:
        if request.kind != kinds.MODEL_SNAPSHOT or request.subresource != "status":
            return None
        self._last = not self._last
        self.refused += self._last
        return Fault.INVALID if self._last else None


def _snapshots(stage: Stage) -> dict[str, Snapshot]:
    found = map(read_snapshot, stage.server.store.all(kinds.MODEL_SNAPSHOT, "shop"))
    return {one.model_version: one for one in found}


async def _promoted_and_rolled_back(stage: Stage) -> None:
    stage.qualities["shop", "3"] = BAD
    stage.create("shop")
    await stage.serves("shop", "1")
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    stage.upgrade("shop", "3")
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.until(lambda: _snapshots(stage)["3"].rejected)
    await stage.serves("shop", "2")


def test_the_verdict_is_written_without_it() -> None:
    plan = Refusing()
    stage = play(lambda: Stage(plan=plan), _promoted_and_rolled_back)
    assert plan.refused >= 4
    known = _snapshots(stage)
    assert [known[one].verdict for one in "123"] == [
        SnapshotVerdict.PROMOTED,
        SnapshotVerdict.PROMOTED,
        SnapshotVerdict.ROLLED_BACK,
    ]
    assert [one.records for one in known.values()] == [(), (), ()]
