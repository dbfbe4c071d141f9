"""`make demo`: the main job on a real cluster, as it happens.

Starts a cluster with a real node, installs Serin from its chart, serves a real model to a client that checks every
answer, then applies a good version and a bad one and prints what Serin says. It ends by itself and removes everything.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.cluster import binaries, launcher
from tests.cluster.cache import say
from tests.e2e.conftest import PROMETHEUS, RATE
from tests.e2e.fraud import NAME, fraud
from tests.e2e.install import install
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases, trained
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

STEPS = ({"weight": 20, "bake": "10s"}, {"weight": 50, "bake": "10s"})
LONGEST = 240.0


def main() -> None:
    """Run the story."""
    with tempfile.TemporaryDirectory(prefix="serin-demo-") as folder:
        say("starting a Kubernetes cluster with one real node (the first time, Kubernetes is built: about 7 minutes)")
        cluster = launcher.start_node_cluster(Path(folder) / "cluster")
        try:
            say("building images and installing Serin from charts/serin (the first time about 2 minutes)")
            serin = install(cluster, binaries.path("helm"), PROMETHEUS)
            cluster.kubectl("create", "namespace", "shop")
            tell(Shop(cluster, "shop"), serin.model)
        finally:
            launcher.end(cluster)


def tell(shop: Shop, image: str) -> None:
    """Version 1 serves, version 2 is promoted, version 3 is rolled back."""
    say("version 1: the first version serves everything once it is ready")
    shop.apply(fraud(image, "1"))
    shop.wait_serving(NAME, "1")
    cases = Cases.load(trained())
    with Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=RATE) as traffic:
        traffic.wait_for("answered", lambda seen: seen.requests > RATE and not seen.failures, 60)
        say(f"a client sends {RATE:.0f} requests a second and checks every answer")
        say("version 2: as good as version 1")
        shop.apply(fraud(image, "2", steps=STEPS, analysis={"ableToSee": "5"}))
        follow(shop)
        say("version 3: half of its requests fail; the shield answers them from version 2")
        shop.apply(fraud(image, "3", config={"error-ratio": "0.5"}, steps=STEPS))
        follow(shop)
        total = traffic.stop()
    print(f"\nThe client's side: {total}\n\n{shop.story(NAME)}")
    stable = shop.status(NAME).get("stable", {}).get("model")
    if stable != "2" or total.failures or total.wrong:
        sys.exit(f"serin: the story ended badly: model {stable} is stable, {total.failures} requests failed")
    say("version 2 was promoted, version 3 was rolled back, and no client noticed either")


def follow(shop: Shop) -> None:
    """Print a line for every change until the rollout that was just applied is over."""
    said, begun, end = "", False, time.monotonic() + LONGEST
    while time.monotonic() < end:
        status = shop.status(NAME)
        begun = begun or bool(status.get("candidate"))
        line = _line(status)
        if line != said:
            print(f"  {time.strftime('%H:%M:%S')}  {line}", flush=True)
            said = line
        if begun and not status.get("candidate"):
            return
        time.sleep(0.5)
    sys.exit(f"serin: the rollout is not over after {LONGEST:.0f} s:\n{shop.story(NAME)}")


def _line(status: dict[str, Any]) -> str:
    step = status.get("step", {})
    weight = f"{step.get('weight', 0):>3}%" if status.get("candidate") else "    "
    return f"{weight}  {status.get('reason', '')}: {status.get('message', '')[:180]}"


if __name__ == "__main__":
    main()
