"""`serin report` where Events cannot be read: without the right to, and without an answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest

from serin.cli import app
from serin.cli.exit_codes import Exit
from tests.narratives import stories
from tests.narratives.film import film

CONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: one, cluster: {server: "http://127.0.0.1:PORT"}}]
users: [{name: one, user: {}}]
contexts: [{name: one, context: {cluster: one, user: one}}]
current-context: one
"""


@contextmanager
def api_server(events: int, folder: Path) -> Iterator[Path]:
    """A rollback to read, and this status for whoever lists Events; the kubeconfig."""
    end = film(stories.bad_candidate)[-1]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path.endswith("/events"):
                asked = f"regarding.uid={end.body['metadata']['uid']}"
                [selector] = parse_qs(query)["fieldSelector"]
                assert selector in (asked, "type=Warning,regarding.kind=Pod"), "and not all of the namespace"
            if path.endswith("/events"):
                self.answer(events, {"kind": "Status", "status": "Failure", "message": "not now", "code": events})
            else:
                lists = {"modelsnapshots": list(end.snapshots), "pods": []}
                found = lists.get(path.rpartition("/")[2])
                self.answer(200, end.body if found is None else {"items": found})

        def answer(self, status: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        config = folder / "kubeconfig"
        config.write_text(CONFIG.replace("PORT", str(server.server_port)))
        yield config
        server.shutdown()


@pytest.mark.parametrize(("events", "code"), [(403, Exit.DONE), (503, Exit.NO_ACCESS)])
def test_who_may_not_read_events_gets_the_rest_and_no_answer_is_said(
    events: int, code: Exit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with api_server(events, tmp_path) as config, pytest.raises(SystemExit) as ended:
        app.main(["report", "fraud", "--kubeconfig", str(config)])
    shown = capsys.readouterr()
    assert ended.value.code == code
    assert ("No Events are known" in shown.out) == (code is Exit.DONE)
    assert ("Events of its pods could not be read: not now" in shown.out) == (code is Exit.DONE)
    assert ("not now" in shown.err) == (code is not Exit.DONE)
