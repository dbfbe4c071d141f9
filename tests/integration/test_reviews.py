"""ReviewItems in a real API server: who may see them, what the operator reads of them, and what the verb does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serin.api import names
from serin.api.guard_review import LARGEST_ITEM, Item, Part, Taken, item_proof, write_item
from serin.cli.app import program
from serin.cli.exit_codes import Exit
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.login import log_in
from serin.controller.review_intake import ReviewIntake
from serin.controller.review_verdicts import ReviewVerdicts
from serin.controller.telemetry import Telemetry
from serin.routers.base import Told
from tests.cluster.ports import free_port
from tests.integration.cli_rig import Serin
from tests.integration.operator_process import Cluster, until
from tests.unit.background import in_background
from tests.unit.controller.test_reviews import Events

pytestmark = pytest.mark.control_plane

REVIEW = {"request": ["amount"], "answer": ["label"], "confidence": {"path": "p", "below": "0.6"}, "keep": 3}


async def test_an_answer_is_shown_labelled_and_counted_once(cluster: Cluster, control_plane: Any, serin: Serin) -> None:
    cluster.deploy("fraud", guard={"review": REVIEW})
    body = cluster.read("md", "fraud")
    shop, cache, events = cluster.shop, ObjectCache(), Events()
    cache.put(kinds.MODEL_DEPLOYMENT, body)
    metadata = {"namespace": shop, "name": "fraud-a", "uid": "a", "resourceVersion": "1"}
    cache.put(kinds.MODEL_SNAPSHOT, {"metadata": metadata, "spec": {"modelDeployment": "fraud"}})
    told: list[tuple[str, str]] = []

    async def tell(_key: object, snapshot: str, verdict: str) -> Told:
        told.append((snapshot, verdict))
        return Told.COUNTED

    api, port = KubernetesCluster(await log_in(Path(control_plane.kubeconfig))), free_port()
    intake = ReviewIntake(api, cache, events, Telemetry(), {}, port=port)
    verdicts = ReviewVerdicts(api, cache, events, Telemetry(), tell, lambda: True, namespaces=(shop,))
    evil = "\x1b[2Jlegit\n\u202e"
    fields = (Taken(Part.REQUEST, "amount", "[12.5]"), Taken(Part.ANSWER, "label", json.dumps([evil])))
    item = Item(f"{shop}/fraud", item_proof(body["metadata"]["uid"]), "fraud-a", 0.52, fields)
    try:
        async with in_background(intake.run()), aiohttp.ClientSession() as session:

            async def bring(content: object) -> int:
                for _ in range(100):
                    try:
                        async with session.post(f"http://127.0.0.1:{port}/", json=content) as answer:
                            return answer.status
                    except aiohttp.ClientConnectorError:
                        await asyncio.sleep(0.05)
                raise AssertionError("nobody listens")

            assert [await bring(one) for one in (write_item(item), write_item(item), {}, ["x" * LARGEST_ITEM])] == [
                *(202, 429, 400),
                413,
            ]
            await until(lambda: cluster.read("review")["items"], what="the item")
        [one] = cluster.read("review")["items"]
        name = one["metadata"]["name"]

        # What the operator reads of it is no payload.
        [seen] = await api.list_metadata(kinds.REVIEW_ITEM, shop, "", 10)
        assert set(seen) == {"apiVersion", "kind", "metadata"}
        assert "legit" not in json.dumps(seen)

        shown = await asyncio.to_thread(serin, "review", "fraud")
        assert shown.code == Exit.DONE, shown.err
        assert f"{name}  " in shown.out
        assert "by fraud-a, confidence 0.52: waits" in shown.out
        assert "request amount  [12.5]" in shown.out
        assert "\x1b" not in shown.out
        assert f"review fraud -n {shop} --label {name}=wrong" in shown.err
        for verb in ("status", "explain"):
            told_of = await asyncio.to_thread(serin, verb, "fraud")
            assert f"1 answer waits for people: {program()} review fraud -n {shop}" in told_of.err
        assert (await asyncio.to_thread(serin, "review", "fraud", "--label", "zz=wrong")).code == Exit.NOT_FOUND
        assert (await asyncio.to_thread(serin, "review", "fraud", "--label", f"{name}=bad")).code == Exit.USAGE
        said = await asyncio.to_thread(serin, "review", "fraud", "--label", f"{name[-4:]}=wrong")
        assert (said.code, said.out) == (Exit.DONE, f"{name}: wrong\n"), said.err

        for _ in range(2):
            await verdicts.look()
        assert told == [("fraud-a", "wrong")]
        [one] = cluster.read("review")["items"]
        assert one["metadata"]["labels"][names.LABEL_COUNTED] == "wrong"
        again = await asyncio.to_thread(serin, "review", "fraud", "--label", f"{name}=right")
        assert again.code == Exit.NO
        assert "an item counts once" in again.err
        listed = await asyncio.to_thread(serin, "review", "fraud", "-o", "json")
        assert json.loads(listed.out)["items"][0]["spec"]["fields"][0]["value"] == "[12.5]"
        with pytest.raises(Exception, match="what was asked and answered does not change"):
            cluster.kubectl("patch", "review", name, "--type=merge", "-p", '{"spec": {"confidence": "1"}}')

        # It goes when nobody looks any more.
        del body["spec"]["guard"]
        body["metadata"]["resourceVersion"] = str(int(body["metadata"]["resourceVersion"]) + 1)
        cache.put(kinds.MODEL_DEPLOYMENT, body)
        verdicts._expired_at = None
        await verdicts.look()
        assert cluster.read("review")["items"] == []
        nobody = await asyncio.to_thread(serin, "review", "fraud")
        assert "no answer of fraud waits for people" in nobody.err
    finally:
        await api.close()
