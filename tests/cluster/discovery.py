"""Tells Prometheus which pods there are, in the words of Prometheus' own Kubernetes discovery.

Debian builds its Prometheus without that discovery, but with discovery over HTTP: Prometheus asks this program, and it
asks the API server. The labels are those of Prometheus' documentation for `role: pod`, so the rules that choose and
relabel targets are the ones that a user writes. It keeps nothing: while the API server does not answer, this says so,
and Prometheus goes on with the pods that it knows.

Run as a file, with the standard library alone; the arguments are in `prometheus.py`.
"""

import argparse
import contextlib
import json
import re
import ssl
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECONDS = 5.0


def main() -> None:
    """Serve the pods at every path."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("server", "authority", "certificate", "key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    context = ssl.create_default_context(cafile=given.authority)
    context.load_cert_chain(given.certificate, given.key)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                # Version 0 is the API server's own cache: cheap enough to ask every second.
                with opener.open(f"{given.server}/api/v1/pods?resourceVersion=0", timeout=SECONDS) as answer:
                    pods = json.load(answer)["items"]
                status, body = 200, json.dumps(targets(pods)).encode()
            except (OSError, ValueError, KeyError) as error:
                print(f"the API server did not list pods: {error}", flush=True)
                status, body = 503, str(error).encode()
            with contextlib.suppress(ConnectionError):  # whoever asked did not wait
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of requests that come every second."""

    ThreadingHTTPServer(("127.0.0.1", given.port), Handler).serve_forever()


def targets(pods: list[dict]) -> list[dict]:
    """Return one target for each pod that has an address."""
    return [{"targets": [pod["status"]["podIP"]], "labels": labels(pod)} for pod in pods if pod["status"].get("podIP")]


def labels(pod: dict) -> dict[str, str]:
    """Return what `role: pod` says of a pod that is not about one container."""
    meta, status = pod["metadata"], pod["status"]
    ready = next((one["status"] for one in status.get("conditions", []) if one["type"] == "Ready"), "Unknown")
    found = {
        "namespace": meta["namespace"],
        "pod_name": meta["name"],
        "pod_uid": meta["uid"],
        "pod_ip": status["podIP"],
        "pod_phase": status.get("phase", ""),
        "pod_ready": ready.lower(),
        "pod_node_name": pod["spec"].get("nodeName", ""),
    }
    for kind in ("label", "annotation"):
        for key, value in (meta.get(f"{kind}s") or {}).items():
            found[f"pod_{kind}_{safe(key)}"] = value
            found[f"pod_{kind}present_{safe(key)}"] = "true"
    return {f"__meta_kubernetes_{key}": value for key, value in found.items()}


def safe(key: str) -> str:
    """Put a Kubernetes key into the characters of a Prometheus label."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", key)


if __name__ == "__main__":
    main()
