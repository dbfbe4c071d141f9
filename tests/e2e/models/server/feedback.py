"""Counts right and wrong answers by version, when the truth is known: the source of a metric of the user's own.

Every answer that comes through Serin's router names the version that gave it in the header `x-serin-snapshot`. Whoever
learns the truth later (a charge-back, a label, a review) sends it here with that name, and Prometheus reads a counter
with the three labels by which Serin tells versions apart:

    POST /outcomes  [{"snapshot": "fraud-7ddw8plmgg", "right": false, "segment": "de"}]  (a segment may be left out)
    GET /metrics    answers_total{outcome="wrong", serin_namespace=..., serin_model_deployment=..., serin_snapshot=...}
"""

from __future__ import annotations

import json
import os
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest

PORT = 8090
MAXIMUM_BYTES = 1 << 20


class Feedback(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    registry = CollectorRegistry()
    answers = Counter(
        "answers",
        "Answers whose truth is known.",
        ("outcome", "segment", "serin_namespace", "serin_model_deployment", "serin_snapshot"),
        registry=registry,
    )

    def do_GET(self) -> None:
        """Metrics; any other path says that the server is up."""
        if self.path == "/metrics":
            self._answer(HTTPStatus.OK, generate_latest(self.registry), CONTENT_TYPE_LATEST)
        else:
            self._answer(HTTPStatus.OK, b"ok\n")

    def do_POST(self) -> None:
        """Count outcomes: all of the request, or none when one of them is not what it should be."""
        length = int(self.headers.get("Content-Length", "0"))
        if length > MAXIMUM_BYTES:
            self.close_connection = True  # what was not read would be taken for the next request
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"send fewer outcomes at once\n")
            return
        try:
            found = [
                (str(one["snapshot"]), str(one.get("segment", "")), bool(one["right"]))
                for one in json.loads(self.rfile.read(length))
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            self._answer(HTTPStatus.BAD_REQUEST, b'write [{"snapshot": "fraud-7ddw8plmgg", "right": true}]\n')
            return
        for snapshot, segment, right in found:
            # Born together: a version without a wrong answer has a counter at 0, and not none.
            counters = {
                outcome: self.answers.labels(
                    outcome, segment, os.environ["NAMESPACE"], os.environ["DEPLOYMENT"], snapshot
                )
                for outcome in ("right", "wrong")
            }
            counters["right" if right else "wrong"].inc()
        self._answer(HTTPStatus.NO_CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """No line for each request."""

    def _answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Feedback).serve_forever()
