"""Reports the truth about answers, two seconds after them: as whoever learns it later would, only sooner."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from tests.e2e.traffic import Answer, Traffic

PORT = 8090
DELAY_SECONDS = 2.0
BATCH_SECONDS = 0.5


@dataclass(slots=True)
class Reporter:
    """Sends outcomes to the feedback service at `url`, from entering the context until leaving it.

    `segment`: in which part of the clients an answer belongs; None: they are not told apart.
    """

    url: str
    traffic: Traffic
    segment: Callable[[Answer], str] | None = None
    problem: str = ""
    _reported: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Reporter:
        self._thread = threading.Thread(target=self._run, name="feedback", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(15)

    def _run(self) -> None:
        while not self._stop.wait(BATCH_SECONDS):
            self._report(time.time() - DELAY_SECONDS)

    def _report(self, until: float) -> None:
        """Answers are listed as they come, so the first one that is too young ends the batch."""
        batch: list[Answer] = []
        while self._reported + len(batch) < len(self.traffic.answers):
            answer = self.traffic.answers[self._reported + len(batch)]
            if answer.at + answer.seconds > until:
                break
            batch.append(answer)
        known = [
            {"snapshot": one.snapshot, "right": one.right, **({"segment": self.segment(one)} if self.segment else {})}
            for one in batch
            if one.right is not None
        ]
        request = urllib.request.Request(f"{self.url}/outcomes", json.dumps(known).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            if known:
                opener.open(request, timeout=5).close()
        except OSError as error:
            self.problem = f"the feedback service does not answer: {error}"
            return  # the same again at the next turn
        self._reported += len(batch)
        self.problem = ""
