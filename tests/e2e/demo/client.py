"""Keeps requests coming to what a demo with KEEP=1 has left, so that another version can be tried by hand.

It uses the kubeconfig of KUBECONFIG, and ends after ten minutes or with Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.cluster import launcher
from tests.cluster.cache import say
from tests.cluster.errors import ClusterError
from tests.e2e.conftest import RATE
from tests.e2e.demo.feedback import PORT as FEEDBACK_PORT
from tests.e2e.demo.feedback import Reporter
from tests.e2e.demo.reach import reaching
from tests.e2e.demo.stage import FOLDER, NAMESPACE
from tests.e2e.fraud import NAME
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases, trained
from tests.e2e.traffic import Traffic

SECONDS = 600.0
PAUSE_SECONDS = 10.0


def main() -> int:
    """Send, and say now and then what came back."""
    cluster = launcher.attach_kubeconfig(Path(os.environ.get("KUBECONFIG", FOLDER / "kubeconfig")))
    with (
        reaching(cluster) as reach,
        Traffic(reach(NAMESPACE, NAME, PORT), Cases.load(trained()), rate=RATE) as traffic,
        Reporter(reach(NAMESPACE, "feedback", FEEDBACK_PORT), traffic),
    ):
        say(f"sending {RATE:.0f} requests a second for {SECONDS / 60:.0f} minutes")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(PAUSE_SECONDS)
            seen = traffic.summary(since=time.time() - PAUSE_SECONDS)
            say(f"the last {PAUSE_SECONDS:.0f} s: {seen.requests} requests, {seen.failures} failed, {seen.wrong} wrong")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClusterError as error:
        sys.exit(f"serin: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
