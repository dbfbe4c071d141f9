"""How a cache is filled: late, in order, over broken connections, and anew after 410."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from serin.api.json import JsonObject
from serin.api.names import LABEL_MODEL_DEPLOYMENT
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from tests.simulation import clock
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault
from tests.simulation.api.resources import NAMESPACE
from tests.simulation.api.rest import Rest
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.feed import feed

WATCHED = {kinds.SERVICE: "", kinds.DEPLOYMENT: LABEL_MODEL_DEPLOYMENT, kinds.POD: LABEL_MODEL_DEPLOYMENT}


def service(name: str, **labels: str) -> JsonObject:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"ports": [{"name": "http", "port": 80}]}}


class Rig:
    """A control plane, and a replica whose cache is fed."""

    def __init__(self, plan: faults.Plan = faults.nothing) -> None:
        self.control_plane = Rest(seed=1)
        self.server, self.watches = self.control_plane.server, self.control_plane.watches
        self.server.create(NAMESPACE, "", {"metadata": {"name": "shop"}}, manager="kubectl")
        self.cluster = SimulatedCluster(self.control_plane, plan=plan)
        self.cache = ObjectCache((kind, None) for kind in WATCHED)

    def create(self, name: str, **labels: str) -> None:
        self.server.create(kinds.SERVICE, "shop", service(name, **labels), manager="kubectl")

    def label(self, name: str, value: str) -> None:
        patch = {"metadata": {"labels": {"n": value}}}
        self.server.patch(kinds.SERVICE, "shop", name, patch, manager="kubectl")

    def delete(self, name: str) -> None:
        self.control_plane.deletion.delete(kinds.SERVICE, "shop", name, who="kubectl")

    def names(self) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.cache.all(kinds.SERVICE))

    def shown(self, name: str) -> str | None:
        found = self.cache.get(kinds.SERVICE, "shop", name)
        return None if found is None else found["metadata"]["labels"].get("n")


def fed(main: Callable[[Rig], Coroutine[Any, Any, None]], plan: faults.Plan = faults.nothing, page: int = 0) -> None:
    async def run() -> None:
        rig = Rig(plan)
        for number in range(5):
            rig.create(f"s{number}")
        feeding = asyncio.create_task(feed(rig.cluster, rig.cache, WATCHED, page=page))
        await rig.cache.wait_until_synced()
        await main(rig)
        feeding.cancel()

    clock.run(run)


def test_what_was_there_and_what_comes() -> None:
    async def main(rig: Rig) -> None:
        assert rig.names() == ["s0", "s1", "s2", "s3", "s4"]
        rig.create("new")
        rig.label("s0", "1")
        rig.delete("s1")
        await asyncio.sleep(1.0)
        assert rig.names() == ["new", "s0", "s2", "s3", "s4"]
        assert rig.shown("s0") == "1"

    fed(main)


def test_lists_in_pages() -> None:
    async def main(rig: Rig) -> None:
        assert len(rig.names()) == 5

    fed(main, page=2)


def test_each_watcher_and_kind_has_its_own_delay() -> None:
    async def main(rig: Rig) -> None:
        rig.watches.lag(30.0, watcher="serin-0", kind="Service")
        rig.create("late")
        await asyncio.sleep(29.0)
        assert "late" not in rig.names()
        await asyncio.sleep(2.0)
        assert "late" in rig.names()
        rig.watches.freeze()
        rig.watches.thaw(watcher="serin-0", kind="Service")
        rig.create("frozen")
        await asyncio.sleep(3600.0)
        assert "frozen" not in rig.names()
        rig.watches.thaw()
        await asyncio.sleep(1.0)
        assert "frozen" in rig.names()

    fed(main)


def test_a_broken_connection_loses_nothing() -> None:
    async def main(rig: Rig) -> None:
        rig.watches.close()
        rig.label("s0", "1")
        rig.delete("s1")
        await asyncio.sleep(1.0)
        assert (rig.shown("s0"), rig.shown("s1")) == ("1", None)
        assert "s1" not in rig.names()

    fed(main)


def test_after_410_a_list_tells_what_was_missed() -> None:
    async def main(rig: Rig) -> None:
        rig.watches.freeze(watcher="serin-0")
        rig.delete("s1")
        rig.label("s2", "1")
        rig.watches.compact()
        await asyncio.sleep(1.0)
        assert rig.names() == ["s0", "s2", "s3", "s4"]
        assert rig.shown("s2") == "1"

    fed(main)


def test_labels_that_match_no_longer() -> None:
    async def main(rig: Rig) -> None:
        labels = {"app": "x", LABEL_MODEL_DEPLOYMENT: "iris"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "m", "image": "i"}]}}
        spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
        body = {"metadata": {"name": "d", "labels": labels}, "spec": spec}
        rig.server.create(kinds.DEPLOYMENT, "shop", body, manager="kubectl")
        rig.server.create(kinds.DEPLOYMENT, "shop", {**body, "metadata": {"name": "other"}}, manager="kubectl")
        await asyncio.sleep(1.0)
        [found] = rig.cache.of_deployment(kinds.DEPLOYMENT, "shop", "iris")
        assert (found["metadata"]["name"], rig.cache.count(kinds.DEPLOYMENT)) == ("d", 1)
        patch = {"metadata": {"labels": {LABEL_MODEL_DEPLOYMENT: None}}}
        rig.server.patch(kinds.DEPLOYMENT, "shop", "d", patch, manager="kubectl")
        await asyncio.sleep(1.0)
        assert rig.cache.count(kinds.DEPLOYMENT) == 0
        rig.server.patch(kinds.DEPLOYMENT, "shop", "d", {"metadata": {"labels": labels}}, manager="kubectl")
        await asyncio.sleep(1.0)
        assert rig.cache.count(kinds.DEPLOYMENT) == 1

    fed(main)


def test_errors_of_a_list_are_waited_out() -> None:
    async def main(rig: Rig) -> None:
        assert len(rig.names()) == 5
        assert clock.now() > 1.0

    fed(main, plan=faults.matching(Fault.INTERNAL, times=6, verb="list"))


def test_an_api_server_that_is_away_is_waited_for() -> None:
    async def main(rig: Rig) -> None:
        rig.control_plane.stop()
        rig.delete("s1")
        rig.label("s2", "1")
        await asyncio.sleep(300.0)
        assert "s1" in rig.names()
        rig.control_plane.start()
        await asyncio.sleep(20.0)
        assert ("s1" in rig.names(), rig.shown("s2")) == (False, "1")

    fed(main)


def test_bookmarks_keep_a_quiet_watch_young() -> None:
    async def main(rig: Rig) -> None:
        rig.server.create(kinds.SECRET, "shop", {"metadata": {"name": "unwatched"}}, manager="kubectl")
        await asyncio.sleep(61.0)
        rig.watches.compact()
        before = rig.cluster.last
        await asyncio.sleep(30.0)
        assert rig.cluster.last is before, "a watch that has seen a bookmark need not list again"

    fed(main)


def test_the_same_seed_is_the_same_history() -> None:
    def history() -> list[JsonObject]:
        async def run() -> list[JsonObject]:
            rig = Rig()
            for number in range(20):
                rig.create(f"s{number}")
            rig.delete("s3")
            await asyncio.sleep(5.0)
            return [one.last for one in rig.server.store.history()]

        return clock.run(run)

    assert history() == history()
