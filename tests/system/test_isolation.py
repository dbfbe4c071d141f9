"""Nothing that one tenant writes changes another one's rollout, and nothing anywhere delays a rollback.

`shop` does something wrong, of a kind that once did harm; `bank` rolls version 2 out beside it, and `shop` a version
that fails. Both must go as they would without.
"""

from collections.abc import Callable

import pytest

from serin.api.json import JsonObject
from serin.api.names import ANNOTATION_ABORT, ANNOTATION_RETRY
from serin.cluster import kinds
from tests.simulation import clock
from tests.simulation.api.store import Commit
from tests.system.invariants import Rules
from tests.system.stage import BAD, Stage, play

ERRORS = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}
DEEP = "(" * 400 + "requests_total{ {{.version}} }" + ")" * 400
SOON = 60.0  # seconds from the first request of a version that fails to its last: evidence comes every five


def ratio(query: str) -> list[JsonObject]:
    """The usual metric, and one that the user wrote."""
    return [ERRORS, {"name": "own", "ratio": {"bad": query, "total": query}, "severity": "minor"}]


def _status(stage: Stage, status: JsonObject) -> None:
    path = kinds.object_path(kinds.MODEL_DEPLOYMENT, "shop", "fraud", "status")
    code, answer = stage.control_plane.request(
        "PATCH", path, {"fieldManager": "velero"}, {"status": status}, "application/merge-patch+json", who="velero"
    )
    assert code == 200, answer


def weights_of_105(stage: Stage) -> None:
    stable, candidate = stage.state("shop").stable, stage.state("shop").candidate
    _status(stage, {"traffic": {"weights": {stable: 80, candidate: 25}}})


def long_annotations(stage: Stage) -> None:
    stage.annotate("shop", ANNOTATION_RETRY, "x" * 5000)
    stage.annotate("shop", "example.com/notes", "y" * 100_000)


def many_versions(stage: Stage) -> None:
    _status(stage, {"draining": {f"fraud-{number}": "2026-11-22T10:00:00.000Z" for number in range(16)}})


WRONG: dict[str, Callable[[Stage], None]] = {
    "nothing": lambda _: None,
    "a placeholder in quotes": lambda stage: stage.change(
        "shop", metrics=ratio('requests_total{namespace="{{.namespace}}", {{.version}} }')
    ),
    "400 parentheses": lambda stage: stage.change("shop", metrics=ratio(DEEP)),
    "a regular expression without an end": lambda stage: stage.change(
        "shop", metrics=ratio('requests_total{ {{.version}}, code=~"(a+)+b" }')
    ),
    "no such template": lambda stage: stage.change(
        "shop", metrics=[ERRORS, {"name": "own", "template": {"name": "absent"}, "severity": "minor"}]
    ),
    "weights of 105": weights_of_105,
    "long annotations": long_annotations,
    "many versions that drain": many_versions,
}


class Course:
    """What happens to one deployment: weights by version, and when they were written."""

    def __init__(self, stage: Stage, namespace: str) -> None:
        self._stage, self._namespace = stage, namespace
        self.steps: list[tuple[dict[str, int], float]] = []
        stage.server.store.listen(self._on_commit)

    def _on_commit(self, commit: Commit) -> None:
        if commit.kind == kinds.MODEL_DEPLOYMENT and commit.key[0] == self._namespace:
            weights = self._stage.serving(self._namespace)
            if weights and (not self.steps or self.steps[-1][0] != weights):
                self.steps.append((weights, commit.at))


def performed(wrong: Callable[[Stage], None]) -> tuple[Course, Course, list[str]]:
    """The courses of `bank` and of `shop`, and every rule that broke."""
    found: list[Course] = []
    broken: list[str] = []

    async def story(stage: Stage) -> None:
        rules = Rules(stage, most_conflicts=20)
        found.extend(Course(stage, namespace) for namespace in ("bank", "shop"))
        stage.qualities["shop", "2"] = BAD
        for namespace in ("bank", "shop"):
            stage.create(namespace)
            await stage.serves(namespace, "1")
        for namespace in ("bank", "shop"):
            stage.upgrade(namespace, "2")
        await stage.until(lambda: stage.serving("shop").get("2"))
        wrong(stage)
        await stage.until(lambda: stage.serving("shop") == {"1": 100}, SOON)
        await stage.serves("bank", "2")
        broken.extend(rules.finish())

    play(Stage, story)
    return found[0], found[1], broken


@pytest.fixture(scope="module")
def usual() -> Course:
    """The course of `bank` beside a neighbour who does nothing wrong."""
    return performed(WRONG["nothing"])[0]


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_neighbour_who_is_wrong_changes_nothing(wrong: Callable[[Stage], None], usual: Course) -> None:
    bank, shop, broken = performed(wrong)
    assert broken == []
    assert [weights for weights, _ in bank.steps] == [weights for weights, _ in usual.steps]
    late = [abs(at - then) for (_, at), (_, then) in zip(bank.steps, usual.steps, strict=True)]
    assert max(late) <= 10.0, "a neighbour's requests are other draws, so evidence may come a look or two later"
    assert shop.steps[-1][0] == {"1": 100}, "and the failing version is rolled back"


def test_an_abort_waits_for_nothing() -> None:
    """Prometheus is away, the user's own query is deep, and every string is as long as it may be."""

    async def story(stage: Stage) -> None:
        stage.create("shop")
        await stage.serves("shop", "1")
        stage.upgrade("shop", "2")
        await stage.until(lambda: stage.serving("shop").get("2"))
        stage.prometheus.unreachable = "no route to host"
        stage.change("shop", metrics=ratio(DEEP))
        stage.annotate("shop", "example.com/notes", "y" * 100_000)
        stage.annotate("shop", ANNOTATION_ABORT, "z" * 5000)
        began = clock.now()
        await stage.until(lambda: stage.serving("shop") == {"1": 100}, 30.0)
        assert clock.now() - began <= 2.0

    play(Stage, story)
