"""Further ports of the Service: through kube-proxy to the pods of stable, whatever a rollout does."""

import time
import urllib.error
import urllib.request
from typing import Any

from tests.e2e.fraud import NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.shop import Shop

PORT = 9000
ADMIN = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["SERIN_MODEL_VERSION"].encode())

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""


def with_admin(serin: Installation, version: str, port: int) -> dict[str, Any]:
    """The model with an admin server beside it, which listens elsewhere in each version."""
    body = fraud(serin.model, version, steps=({"weight": 50, "bake": "1h"},))
    sidecar = {
        "name": "admin",
        "image": serin.model,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "admin", "containerPort": port}],
        "env": [{"name": "PORT", "value": str(port)}],
        "command": ["python", "-c", ADMIN],
    }
    body["spec"]["template"]["spec"]["containers"].append(sidecar)
    return body | {"spec": body["spec"] | {"service": {"extraPorts": [{"name": "admin", "port": PORT}]}}}


def test_they_stay_with_stable_and_follow_a_promotion(serin: Installation, shop: Shop) -> None:
    def answers() -> set[str]:
        """Of several connections, each of which kube-proxy may lead to another pod."""
        found = set()
        for _ in range(10):
            try:
                with urllib.request.urlopen(f"http://{shop.address(NAME)}:{PORT}/", timeout=3) as answer:
                    found.add(answer.read().decode())
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                found.add("none")
        return found

    # Version 1 of this module has no such port, so nobody is there.
    shop.apply(with_admin(serin, "2", 7000))
    shop.wait(NAME, "at its step", lambda one: 50 in one.get("traffic", {}).get("weights", {}).values())
    assert answers() == {"none"}
    shop.annotate(NAME, "serin.dev/promote=2")
    shop.until("version 2 at the port", lambda: answers() == {"2"})

    shop.apply(with_admin(serin, "3", 7001))
    shop.wait(NAME, "at its step", lambda one: 50 in one.get("traffic", {}).get("weights", {}).values())
    time.sleep(1)
    assert answers() == {"2"}, "no step moves these requests"
    shop.annotate(NAME, "serin.dev/promote=3")
    shop.until("version 3 at the port", lambda: answers() == {"3"})
