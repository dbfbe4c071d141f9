"""A real Prometheus for tests: on a free loopback port, with a written history or exporters that a test controls."""

import asyncio
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.cluster.ports import free_port

Labels = Mapping[str, str]
Reply = Callable[[str, bytes], tuple[int, Mapping[str, str], bytes]]
Sample = tuple[str, Labels, float, float]  # name, labels, value, unix seconds


def render(name: str, labels: Labels) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}"


def write_history(data: Path, samples: Iterable[Sample], *, block: str = "2h") -> None:
    """Make blocks of samples with exact times, as a Prometheus that ran for hours would have. `block`: the longest.

    promtool reads all samples again for each block, so weeks of them take longer ones.
    """
    by_series: dict[str, list[tuple[float, float]]] = {}
    for name, labels, value, at in samples:
        by_series.setdefault(render(name, labels), []).append((at, value))
    text = data.parent / f"{data.name}.om"
    with text.open("w") as file:
        for series, points in by_series.items():
            file.writelines(f"{series} {value!r} {at:.3f}\n" for at, value in sorted(points))
        file.write("# EOF\n")
    data.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            "promtool",
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            f"--max-block-duration={block}",
            str(text),
            str(data),
        ],
        check=True,
        capture_output=True,
    )


@dataclass
class PrometheusServer:
    """One Prometheus process. `retention`: how old a sample may be."""

    folder: Path
    config: str = "scrape_configs: []\n"
    options: Sequence[str] = ()
    retention: str = "1d"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> "PrometheusServer":
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "prometheus.yml").write_text(self.config)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self.folder}/prometheus.yml",
                    f"--storage.tsdb.path={self.folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    f"--storage.tsdb.retention.time={self.retention}",
                    *self.options,
                ],
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        wait_for(lambda: _ok(f"{self.url}/-/ready"), f"Prometheus is not ready: {self.folder}/log")

    def wait_stored(self, exporter: "Exporter") -> None:
        """Wait until everything that an exporter has counted by now is stored.

        That it was scraped is not enough: Prometheus drops an answer that took longer than its time-out.
        """
        seen = exporter.scrapes
        query = f'exporter_scrapes{{instance="{exporter.address}"}}'

        def stored() -> bool:
            with suppress(OSError):
                return (self.value(query) or 0.0) > seen
            return False

        wait_for(stored, f"Prometheus does not scrape {exporter.address}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def value(self, query: str) -> float | None:
        """First result of an instant query now, past our own adapter."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else None


def _ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for(condition: Callable[[], object], message: str, seconds: float = 120.0) -> None:
    """Wait until the function gives something true."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(message)


async def look_until_told(look: Callable[[], Awaitable[object]], told: Callable[[], bool]) -> None:
    """Look until a collector has told everything; then five times more, for nothing may be told twice."""
    limit, after = time.monotonic() + 60.0, 5
    while after and time.monotonic() < limit:
        await look()
        after -= told()
        await asyncio.sleep(0.3)


class Exporter:
    """A pod's /metrics: counters that a test sets, and `exporter_scrapes`, the number of the answer.

    Down: answers 503, as a pod that Prometheus cannot scrape.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.values: dict[str, float] = {}
        self.down = False
        self.lock = threading.Lock()
        self.scrapes = 0
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with exporter.lock:
                    exporter.scrapes += 1
                    values = {**exporter.values, "exporter_scrapes": float(exporter.scrapes)}
                    text = "".join(f"{series} {value!r}\n" for series, value in values.items())
                    status = 503 if exporter.down else 200
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.address = f"{host}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, name: str, labels: Labels, amount: float = 1) -> None:
        series = render(name, labels)
        with self.lock:
            self.values[series] = self.values.get(series, 0.0) + amount

    def add_together(self, amounts: Mapping[str, float]) -> None:
        """Add to several series between two scrapes; a series appears with its first increment."""
        with self.lock:
            for series, amount in amounts.items():
                if amount or series in self.values:
                    self.values[series] = self.values.get(series, 0.0) + amount

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def answering(
    reply: Reply, authorizations: list[str | None] | None = None, headers: list[Mapping[str, str]] | None = None
) -> Iterator[str]:
    """Serve whatever `reply` says to path and body; gives the address. Notes the headers that came."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if authorizations is not None:
                authorizations.append(self.headers.get("Authorization"))
            if headers is not None:
                headers.append(dict(self.headers.items()))
            status, own, answer = reply(self.path, body)
            self.send_response(status)
            for name, value in own.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with suppress(OSError):  # who asked may have heard enough
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
