"""The client of the end-to-end tests counts from where a Service answers, and says when it never does."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.models.train import Cases
from tests.e2e.traffic import Traffic

CASES = Cases(rows=((0.0,) * 30,), labels=(1,))
QUIET = 0.5
ANSWER = b'{"outputs": [{"name": "label", "data": [1]}]}'


@contextmanager
def server(refused: int, hold: float = 0.0) -> Iterator[str]:
    """Fails so many requests, each after `hold` seconds; answers all others at once. Yields its URL."""
    left, lock = refused, threading.Lock()

    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal left
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                left -= 1
                fails = left >= 0
            if fails:
                time.sleep(hold)
            self.send_response(503 if fails else 200)
            self.send_header("Content-Length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER)

        def log_message(self, format: str, *args: object) -> None:
            """No line for each request."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join(10)


def test_what_failed_before_the_service_answers_does_not_count() -> None:
    with server(refused=20) as url, Traffic(url, CASES, rate=50, quiet=QUIET) as traffic:
        traffic.settle()
        traffic.wait_for("answered", lambda seen: seen.requests > 25)
        total = traffic.stop()
    assert sum(one.failed for one in traffic.answers) == 20
    assert total.failures == 0
    assert 25 < total.requests <= len(traffic.answers) - 20


def test_what_was_sent_before_and_fails_long_after_does_not_count() -> None:
    with server(refused=10, hold=3 * QUIET) as url, Traffic(url, CASES, rate=50, quiet=QUIET) as traffic:
        traffic.settle()
        total = traffic.stop()
    assert sum(one.failed for one in traffic.answers) == 10
    assert total.failures == 0


def test_a_failure_after_that_counts() -> None:
    with server(refused=0) as url, Traffic(url, CASES, rate=50, quiet=QUIET) as traffic:
        traffic.settle()
        traffic.url = "http://127.0.0.1:1"
        traffic.wait_for("refused", lambda seen: seen.failures > 5)
        assert traffic.stop().failures > 5


def test_a_service_that_never_answers_is_said() -> None:
    with (
        server(refused=100_000) as url,
        Traffic(url, CASES, rate=50, quiet=QUIET) as traffic,
        pytest.raises(AssertionError, match=r"the traffic is not answered:\n.* failed"),
    ):
        traffic.settle(0.1)
