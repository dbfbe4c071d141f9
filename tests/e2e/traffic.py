"""A client that sends inference requests at a steady rate and remembers every answer.

It is an open loop: requests leave on time whether or not earlier ones were answered, as those of many independent
clients do, so a slow version gets no easier load for being slow. It runs in a thread of its own, so that a test can
look at the cluster meanwhile. It refuses to run without bounds: it ends by itself after so many requests or seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import aiohttp

from tests.e2e.models.train import Cases

SNAPSHOT_HEADER = "x-serin-snapshot"
SHIELDED_HEADER = "x-serin-shielded"
MAXIMUM_REQUESTS = 200_000
MAXIMUM_SECONDS = 900.0
MAXIMUM_OPEN = 500
"""Requests under way at once. Beyond it the client waits, and `Summary.late` says so."""
ANSWER_SECONDS = 30.0
"""Longer than any machine stands still, so that what was not answered by then was lost."""
LATE_SECONDS = 0.5
NO_NUMBER = "an answer without a number"
"""The problem of an answer with 200 that has null or NaN among its outputs."""
SETTLE_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request.

    `at`: Unix time of sending. `status`: 0 without an answer; `problem` says why then. `seconds`: until the whole
    answer was there. `right`: whether the label was the expected one (None unless the status is 200). `malformed`:
    the request was one that every version has to fail. `late`: it was sent more than half a second after its time.
    `shielded`: the candidate had it first and failed it. `feature`: the first one of the request.
    """

    at: float
    status: int
    seconds: float
    snapshot: str
    right: bool | None
    malformed: bool
    late: bool
    problem: str = ""
    shielded: bool = False
    feature: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether the client did not get what it asked for in form; a wrong label is `not right`."""
        return self.status != 200


@dataclass(frozen=True, slots=True)
class Summary:
    """Answers to well-formed requests, counted; `seconds` are sorted latencies of those that were answered.

    `shielded`: those that stable gave because the candidate had failed them.
    """

    requests: int
    failures: int
    wrong: int
    late: int
    statuses: Counter[int]
    snapshots: Counter[str]
    seconds: tuple[float, ...]
    problems: Counter[str]
    shielded: int

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Summary:
        """Count."""
        return cls(
            requests=len(answers),
            failures=sum(answer.failed for answer in answers),
            wrong=sum(answer.right is False for answer in answers),
            late=sum(answer.late for answer in answers),
            statuses=Counter(answer.status for answer in answers),
            snapshots=Counter(answer.snapshot for answer in answers if answer.snapshot),
            seconds=tuple(sorted(answer.seconds for answer in answers if answer.status)),
            problems=Counter(answer.problem for answer in answers if answer.problem),
            shielded=sum(answer.shielded for answer in answers),
        )

    def share(self, snapshot: str) -> float:
        """Share, from 0 to 1, of the requests that this snapshot answered."""
        answered = self.snapshots.total()
        return self.snapshots[snapshot] / answered if answered else 0.0

    def quantile(self, q: float) -> float:
        """Latency in seconds below which the share `q` of the answers came; NaN without answers."""
        return self.seconds[min(int(q * len(self.seconds)), len(self.seconds) - 1)] if self.seconds else float("nan")

    def __str__(self) -> str:
        latency = f"p50 {self.quantile(0.5) * 1000:.0f} ms, p99 {self.quantile(0.99) * 1000:.0f} ms"
        lines = [f"{self.requests} requests, {self.failures} failed, {self.wrong} wrong, {self.late} late; {latency}"]
        lines += [f"status {status or 'none'}: {count}" for status, count in sorted(self.statuses.items())]
        lines += [f"{name}: {count} ({self.share(name):.1%})" for name, count in self.snapshots.most_common()]
        lines += [f"{count} x {problem}" for problem, count in self.problems.most_common(5)]
        return "\n".join(lines)


@dataclass(slots=True)
class Traffic:
    """Requests to `<url>/v2/models/<model>/infer`, from entering the context until leaving it.

    `cases`: what is sent, and `rate`: requests a second; both may be set while it runs. `malformed`: share of requests
    with too few features, which every version fails: an incident that hits all versions at once. May be set while it
    runs, too. `quiet`: for how many seconds all that comes back must be answers before any is counted.
    """

    url: str
    cases: Cases
    rate: float = 50.0
    model: str = "fraud"
    malformed: float = 0.0
    quiet: float = SETTLE_SECONDS
    answers: list[Answer] = field(default_factory=list)
    _counted_from: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _crash: BaseException | None = None

    def __enter__(self) -> Traffic:
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> Summary:
        """Send no more, wait for the answers under way and return the summary. A second call is harmless."""
        self._stop.set()
        if self._thread:
            self._thread.join(ANSWER_SECONDS + 5)
        if self._crash:
            raise RuntimeError("the client itself failed") from self._crash
        return self.summary()

    def summary(self, since: float = 0.0, until: float = float("inf")) -> Summary:
        """Count the answers to well-formed requests that were sent in an interval of Unix time."""
        since = max(since, self._counted_from)
        return Summary.of([one for one in list(self.answers) if since <= one.at < until and not one.malformed])

    def settle(self, seconds: float = 60.0) -> Summary:
        """Wait until `quiet` seconds pass in which all that comes back is an answer; count what is sent after them.

        The node's network learns of a Service a moment after its address can be read. A request that was sent too early
        may wait for its time-out long after later ones are answered: it tells nothing about Serin, however late it is.
        """
        limit = time.monotonic() + seconds
        while True:
            begun = time.time()
            time.sleep(self.quiet)
            summary = self.summary(since=begun)
            if summary.requests >= self.rate * self.quiet / 3 and not summary.failures:
                self._counted_from = time.time()
                return summary
            self._give_up_after(limit, "answered", summary)

    def wait_for(self, what: str, holds: Callable[[Summary], object], seconds: float = 30.0) -> Summary:
        """Wait until the answers to requests sent from now on are as wanted; otherwise fail with what they were."""
        begun, limit = time.time(), time.monotonic() + seconds
        while True:
            summary = self.summary(since=begun)
            if holds(summary):
                return summary
            self._give_up_after(limit, what, summary)
            time.sleep(0.1)

    def _give_up_after(self, limit: float, what: str, summary: Summary) -> None:
        if time.monotonic() > limit or self._stop.is_set() or not (self._thread and self._thread.is_alive()):
            raise AssertionError(f"the traffic is not {what}:\n{summary}")

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:
            self._crash = error

    async def _send_all(self) -> None:
        connector = aiohttp.TCPConnector(limit=MAXIMUM_OPEN)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        # Nothing of the environment (proxies, ~/.netrc) has a say: the traffic stays where the test sends it.
        session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        async with session, asyncio.TaskGroup() as group:
            room = asyncio.Semaphore(MAXIMUM_OPEN)
            begun = due = time.monotonic()
            for number in range(MAXIMUM_REQUESTS):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if self._stop.is_set() or time.monotonic() - begun > MAXIMUM_SECONDS:
                    return
                await room.acquire()
                late = time.monotonic() - due > LATE_SECONDS
                task = group.create_task(self._send(session, number, late))
                task.add_done_callback(lambda _: room.release())
                due = max(due + 1 / self.rate, time.monotonic() - 2 * LATE_SECONDS)

    async def _send(self, session: aiohttp.ClientSession, number: int, late: bool) -> None:
        cases = self.cases
        case = number % len(cases.rows)
        malformed = random.random() < self.malformed
        row = cases.rows[case][:3] if malformed else cases.rows[case]
        at, began = time.time(), time.monotonic()
        status, snapshot, right, problem, shielded = 0, "", None, "", False
        try:
            async with session.post(f"{self.url}/v2/models/{self.model}/infer", json=_question(row)) as answer:
                text = await answer.text()
                status, snapshot = answer.status, answer.headers.get(SNAPSHOT_HEADER, "")
                shielded = answer.headers.get(SHIELDED_HEADER) == "true"
            if status == 200:
                right = read_label(text) == cases.labels[case]
                problem = NO_NUMBER if "NaN" in text or "null" in text.partition('"outputs"')[2] else ""
            elif not malformed:
                problem = f"status {status}: {text[:200]}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status, problem = 0, f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        self.answers.append(Answer(at, status, seconds, snapshot, right, malformed, late, problem, shielded, row[0]))


async def answered_by(url: str, cases: Cases, model: str = "fraud", **headers: str) -> str:
    """Send one request with these headers; which version has answered it, "" when the router does not say."""
    session = aiohttp.ClientSession(headers=headers, trust_env=False)
    async with session, session.post(f"{url}/v2/models/{model}/infer", json=_question(cases.rows[0])) as answer:
        assert answer.status == 200
        return answer.headers.get(SNAPSHOT_HEADER, "")


def _question(row: Sequence[float]) -> dict[str, object]:
    """A request in the Open Inference Protocol."""
    return {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, len(row)], "data": row}]}


def read_label(text: str) -> int | None:
    """Return the label of an answer in the Open Inference Protocol; None if it has none."""
    try:
        outputs = {output["name"]: output["data"] for output in json.loads(text)["outputs"]}
        return int(outputs["label"][0])
    except (ValueError, KeyError, IndexError, TypeError):
        return None
