"""CPU of one exchange of the guard: the server on h2 beside grpc.aio and grpclib, all with the same checks.

    python -m tests.bench.guard_servers [exchanges]

Each server is a process of its own, with one client that speaks HTTP/2 as Envoy does: one connection, headers and body
of an answer, then RST_STREAM. Rounds are interleaved. grpclib is measured where it is installed; the project does not
need it. docs/guard.md has what came out.
"""

import asyncio
import importlib.util
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived

from serin.api.guard import Check, OutputGuard, Protocol, read_written, write_output
from serin.api.guard_keys import read_signed, sign_settings
from serin.guard.exchange import Exchange

GUARD = OutputGuard(Protocol.OPEN_INFERENCE, (Check("score", minimum=0.0, maximum=1.0),))
KEY = b"k" * 32
PATH = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
ANSWER = b'{"model_name":"m","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}'
ROUNDS = 5
AT_ONCE = 20
TICKS = os.sysconf("SC_CLK_TCK")


def _messages() -> tuple[bytes, bytes]:
    headers, body = ProcessingRequest(), ProcessingRequest()
    for key, value in ((":status", b"200"), ("content-type", b"application/json")):
        headers.response_headers.headers.headers.add(key=key, raw_value=value)
    body.response_body.body, body.response_body.end_of_stream = ANSWER, True
    framed = (one.SerializeToString() for one in (headers, body))
    first, second = (struct.pack(">BI", 0, len(one)) + one for one in framed)
    return first, second


async def _load(port: int, count: int) -> None:
    """A closed loop of `count` exchanges, AT_ONCE at a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    http.initiate_connection()
    first, second = _messages()
    begun = ended = 0
    got: dict[int, int] = {}
    base = [(":method", "POST"), (":scheme", "http"), (":authority", "guard"), (":path", PATH), ("te", "trailers")]
    settings = sign_settings(KEY, write_output(GUARD))
    headers = [*base, ("content-type", "application/grpc"), ("serin-guard", settings)]
    while ended < count:
        while begun < count and len(got) < AT_ONCE:
            number = http.get_next_available_stream_id()
            http.send_headers(number, headers)
            http.send_data(number, first)
            got[number] = 0
            begun += 1
        writer.write(http.data_to_send())
        for event in http.receive_data(await reader.read(65536)):
            if not isinstance(event, DataReceived) or event.stream_id not in got:
                continue
            http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            got[event.stream_id] += 1
            if got[event.stream_id] == 1:
                http.send_data(event.stream_id, second)
            else:
                http.reset_stream(event.stream_id)
                del got[event.stream_id]
                ended += 1
    writer.close()


def _begin(metadata: dict[str, str]) -> Exchange:
    return Exchange(read_written(read_signed(KEY, metadata["serin-guard"].encode())))


async def _serve_grpc_aio(port: int) -> None:
    import grpc.aio

    async def process(requests, context):  # type: ignore[no-untyped-def]
        exchange = _begin(dict(context.invocation_metadata()))
        async for message in requests:
            yield exchange.on_message(message)

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(process)
    service = PATH.split("/")[1]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Process": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def _serve_grpclib(port: int) -> None:
    from grpclib.const import Cardinality, Handler
    from grpclib.encoding.base import CodecBase
    from grpclib.server import Server

    class Raw(CodecBase):
        __content_subtype__ = "proto"

        def encode(self, message: bytes, _: object) -> bytes:
            return message

        def decode(self, data: bytes, _: object) -> bytes:
            return data

    class Service:
        def __mapping__(self) -> dict[str, Handler]:
            return {PATH: Handler(self.process, Cardinality.STREAM_STREAM, bytes, bytes)}

        async def process(self, stream) -> None:  # type: ignore[no-untyped-def]
            exchange = _begin(stream.metadata)
            async for message in stream:
                await stream.send_message(exchange.on_message(message))

    server = Server([Service()], codec=Raw())
    await server.start("127.0.0.1", port)
    await server.wait_closed()


def _start(name: str, port: int, key: Path) -> subprocess.Popen[bytes]:
    words = ["-m", "serin", "guard", "--port", str(port), "--key-file", str(key)]
    if name != "h2":
        words = ["-m", "tests.bench.guard_servers", "serve", name, str(port)]
    return subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)


def _cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def _wait(port: int) -> None:
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise TimeoutError(f"nothing listens on {port}")


async def main(count: int, key: Path) -> None:
    """Measure and print."""
    names = ["h2", "grpc.aio", *(["grpclib"] if importlib.util.find_spec("grpclib") else [])]
    ports = {name: 18_100 + place for place, name in enumerate(names)}
    servers = {name: _start(name, port, key) for name, port in ports.items()}
    cost: dict[str, list[float]] = {name: [] for name in names}
    rate: dict[str, list[float]] = {name: [] for name in names}
    try:
        for port in ports.values():
            await _wait(port)
            await _load(port, 200)
        for _ in range(ROUNDS):
            for name, port in ports.items():
                before, began = _cpu(servers[name]), time.monotonic()
                await _load(port, count)
                cost[name].append((_cpu(servers[name]) - before) / count * 1000)
                rate[name].append(count / (time.monotonic() - began))
    finally:
        for one in servers.values():
            one.terminate()
            one.wait()
    for name in names:
        ratio = statistics.median(cost[name]) / statistics.median(cost["h2"])
        print(
            f"{name:9} {statistics.median(cost[name]):.2f} ms of CPU an exchange ({ratio:.1f} times h2's), "
            f"{min(cost[name]):.2f} to {max(cost[name]):.2f}; {statistics.median(rate[name]):.0f} exchanges/s"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run({"grpc.aio": _serve_grpc_aio, "grpclib": _serve_grpclib}[sys.argv[2]](int(sys.argv[3])))
    else:
        with tempfile.NamedTemporaryFile() as key:
            key.write(KEY)
            key.flush()
            asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000, Path(key.name)))
