"""One answer of a model that is recorded, as Envoy's filter ext_proc shows it to one who only looks.

The router does not wait (`observability_mode`), and nothing is said to it. An answer is read in a thread of its own, as
those that clients wait for are checked beside it. Those that wait for the thread are bounded, and so are their bytes:
what is more is not recorded, and counted as such. None of it is one namespace's alone (`Recorder`).
"""

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpBody, HttpHeaders

from serin.api.guard import LARGEST_ANSWER
from serin.api.guard_record import Recording
from serin.guard.budget import Unchecked
from serin.guard.counts import Counts
from serin.guard.messages import JSON_TYPE, asked, asks, headers_of, read_message, too_long
from serin.guard.pairs import Pairs
from serin.guard.payload import NotJson, read_json
from serin.guard.predictions import predicted
from serin.guard.room import Held

log: Final = structlog.get_logger("serin.guard")

# Answers that wait to be read: all of them may come at once.
MOST_WAITING: Final = 256
_MORE: Final = b""
# Of the metadata of the pod that has answered, as Envoy prints them.
_SNAPSHOT: Final = re.compile(r'key:\s*"snapshot"\s*value\s*\{\s*string_value:\s*"([^"]+)"')
_FIRST: Final = re.compile(r'key:\s*"attempt"\s*value\s*\{\s*string_value:\s*"first"')


@dataclass(frozen=True, slots=True, repr=False)
class _Answer:
    """One that waits. `held`: has its bytes, which are given back when it was read."""

    recording: Recording
    snapshot: str
    body: bytes
    encoding: str
    held: Held


class Recorder:
    """Reads answers one after another, of each namespace in turn.

    When all places are taken, the namespace with the most of them gives one to whoever has fewer. So one that is alone
    may have many answers at once, and however many it has, another one's are read as soon.
    """

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._thread = ThreadPoolExecutor(1, "record")
        self._waiting: OrderedDict[str, deque[_Answer]] = OrderedDict()  # by namespace, in their turns
        self._reading = 0

    def begin(self, recording: Recording, snapshot: str, body: bytes, encoding: str, held: Held) -> None:
        """Count an answer, some time. `held`: has the bytes, which are given back then."""
        answer = _Answer(recording, snapshot, body, encoding, held)
        if not self._has_place(recording.namespace):
            self._leave_out(answer)
            return
        self._waiting.setdefault(recording.namespace, deque()).append(answer)
        self._go_on()

    def waiting(self) -> int:
        """How many answers wait, or are being read."""
        return self._reading + sum(map(len, self._waiting.values()))

    def stop(self) -> None:
        """Read no more."""
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _has_place(self, namespace: str) -> bool:
        if sum(map(len, self._waiting.values())) < MOST_WAITING:
            return True
        most = max(self._waiting, key=lambda one: len(self._waiting[one]))
        if len(self._waiting[most]) <= len(self._waiting.get(namespace, ())) + 1:
            return False
        self._leave_out(self._waiting[most].pop())
        return True

    def _go_on(self) -> None:
        """Read what is due: one answer of each namespace, while nothing else is read."""
        if self._reading or not self._waiting:
            return
        due = [one.popleft() for one in self._waiting.values()]
        self._waiting = OrderedDict((name, left) for name, left in self._waiting.items() if left)
        self._reading = len(due)

        def done(_: asyncio.Future[None]) -> None:
            self._reading = 0
            for one in due:
                one.held.give_back()
            self._go_on()

        asyncio.get_running_loop().run_in_executor(self._thread, self._read, due).add_done_callback(done)

    def _leave_out(self, answer: _Answer) -> None:
        self.counts.left_out(answer.recording.namespace)
        answer.held.give_back()

    def _read(self, answers: Sequence[_Answer]) -> None:
        for one in answers:
            try:
                found = predicted(read_json(one.body, one.encoding), one.recording)
                self.counts.add(one.recording, one.snapshot, found)
            except (NotJson, Unchecked):
                self.counts.left_out(one.recording.namespace)
            except Exception as error:  # a defect; nothing of an answer is in the name of an error
                log.error("guard.record-failed", error=type(error).__name__)


class RecordExchange:
    """Collects one answer."""

    __slots__ = ("_body", "_encoding", "_held", "_pairs", "_recorder", "_recording", "_snapshot")

    def __init__(self, recording: Recording, recorder: Recorder, pairs: Pairs) -> None:
        self._recording, self._recorder = recording, recorder
        self._pairs = pairs
        self._held = pairs.hold(recording.namespace)
        self._body = bytearray()
        self._encoding = self._snapshot = ""

    def on_message(self, message: bytes) -> bytes | None:
        """Empty while there is more to see, then None. Raises ValueError for a message that nobody has asked for."""
        request = read_message(message)
        match request.WhichOneof("request"):
            case "response_headers":
                return self._on_answer(request.response_headers, asked(request))
            case "response_body":
                return self._on_body(request.response_body)
            case other:
                raise ValueError(f"{other} was not asked for")

    def closed(self) -> None:
        """Forget what has come."""
        self._held.give_back()

    def _on_answer(self, shown: HttpHeaders, attributes: Mapping[str, str]) -> bytes | None:
        headers = headers_of(shown)
        path, method = attributes.get("request.path", ""), attributes.get("request.method", "")
        if not (headers.get(":status", "").startswith("2") and asks(self._recording.protocol, method, path)):
            return None
        pod = attributes.get("xds.upstream_host_metadata", "")
        found = _SNAPSHOT.search(pod)
        # An answer of stable in the candidate's place is no fair sample of stable's.
        if found is None or not _FIRST.search(pod):
            return None
        if shown.end_of_stream or too_long(headers) or not JSON_TYPE.match(headers.get("content-type", "")):
            self._recorder.counts.left_out(self._recording.namespace)
            return None
        self._snapshot, self._encoding = found[1], headers.get("content-encoding", "")
        return _MORE

    def _on_body(self, shown: HttpBody) -> bytes | None:
        if len(self._body) + len(shown.body) > LARGEST_ANSWER or not self._held.take(len(shown.body)):
            self._recorder.counts.left_out(self._recording.namespace)
            return None
        self._body += shown.body
        if not shown.end_of_stream:
            return _MORE
        held, self._held = self._held, self._pairs.hold(self._recording.namespace)
        self._recorder.begin(self._recording, self._snapshot, bytes(self._body), self._encoding, held)
        return None
