"""A version's pods on a real node: what its containers find, and what is said while one of them does not go on."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serin.api.json import JsonObject
from tests.cluster import recipes
from tests.cluster.node_cluster import NodeCluster
from tests.integration.operator_process import Cluster, operating, routing, until
from tests.integration.test_operator_life import ROUTER, router

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("node_tools")]

PROMPT = "costs $$5 $(HOME) $(SERIN_MODEL_URI)"
# What a container sees of its version, written where the server serves files.
LOOK = (
    "import json, os, pathlib; "
    "config = pathlib.Path('/etc/serin/config/prompt').read_text(); "
    "variables = {k: v for k, v in os.environ.items() if k.startswith('SERIN_')}; "
    "found = json.dumps({'variables': variables, 'file': config}); "
    "pathlib.Path('/work/NAME.json').write_text(found)"
)


def template(image: str, *, first: str = "true") -> JsonObject:
    """An init container and a server that write down what they see. `first`: a shell command before that."""
    work = [{"name": "work", "mountPath": "/work"}]
    look = {name: f'{first}; python3 -c "{LOOK.replace("NAME", name)}"' for name in ("fetch", "model")}
    fetch = {"name": "fetch", "image": image, "command": ["sh", "-c", look["fetch"]], "volumeMounts": work}
    serve = f"{look['model']} && exec python3 -m http.server 8080 -d /work"
    model: JsonObject = {"name": "model", "image": image, "command": ["sh", "-c", serve], "volumeMounts": work}
    model |= {"ports": [{"containerPort": 8080}], "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "true"]}}}}
    pod = {"initContainers": [fetch], "containers": [model], "volumes": [{"name": "work", "emptyDir": {}}]}
    return {"spec": pod | {"terminationGracePeriodSeconds": 1}}


@pytest.fixture
def shop(own_node_cluster: NodeCluster) -> Any:
    """A namespace, and a router that is ready: without one, that is what the status tells first."""
    made = Cluster(own_node_cluster)
    own_node_cluster.kubectl("apply", "-f", "-", input=json.dumps(router(made)))
    yield made
    made.remove()


async def test_every_container_knows_its_version_word_for_word(
    own_node_cluster: NodeCluster, shop: Cluster, tmp_path: Path
) -> None:
    image = recipes.python_image()
    own_node_cluster.load(image)
    async with operating(own_node_cluster, shop, tmp_path) as (operator, _), routing(operator, ROUTER):
        model = {"name": "fraud", "version": "1", "uri": "s3://models/$1"}
        shop.deploy(template=template(image.reference), model=model, config={"prompt": PROMPT})
        await until(lambda: "stable" in shop.status(), seconds=180.0, what="fraud serving")
        [pod] = shop.read("pods")["items"]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for name in ("fetch", "model"):
            with opener.open(f"http://{pod['status']['podIP']}:8080/{name}.json", timeout=10) as answer:
                found = json.loads(answer.read())
            assert found["file"] == PROMPT
            assert found["variables"] == {
                "SERIN_MODEL_NAME": "fraud",
                "SERIN_MODEL_VERSION": "1",
                "SERIN_MODEL_URI": "s3://models/$1",
                "SERIN_CONFIG_PROMPT": PROMPT,
            }
        assert pod["spec"]["terminationGracePeriodSeconds"] == 6


async def test_a_pod_that_does_not_go_on_says_where_it_is(
    own_node_cluster: NodeCluster, shop: Cluster, tmp_path: Path
) -> None:
    image = recipes.python_image()
    own_node_cluster.load(image)
    config = {"prompt": PROMPT}
    async with operating(own_node_cluster, shop, tmp_path) as (operator, _), routing(operator, ROUTER):
        shop.deploy("slow", template=template(image.reference, first="sleep 600"), config=config)
        broken = template(image.reference, first="echo no such model >&2; exit 3")
        shop.deploy("broken", template=broken, config=config)
        secret = template(image.reference)
        secret["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": "missing"}}]
        shop.deploy("secret", template=secret, config=config)
        for name, words in {
            "slow": "init container fetch is still running, and the model server starts when it has ended",
            "broken": "container fetch exited with code 3 (Error)",
            "secret": 'container model is waiting: CreateContainerConfigError: secret "missing" not found',
        }.items():
            await until(
                lambda name=name, words=words: words in shop.status(name).get("message", ""),
                seconds=180.0,
                what=f"{name}: {words} (not: {shop.status(name).get('message')})",
            )
