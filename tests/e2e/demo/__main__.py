"""Sets the stage, tells the story, and ends with 0 only when it ended as it should."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback

from serin.cli.exit_codes import Stop
from tests.cluster import recipes
from tests.cluster.cache import say
from tests.cluster.errors import ClusterError
from tests.e2e.demo.stage import FOLDER, LOGS, NAMESPACE, Stage, stage
from tests.e2e.demo.story import put, tell
from tests.e2e.demo.view import TookTooLong
from tests.e2e.demo.wishes import Wishes


def main() -> int:
    """Run it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.time()
    try:
        wishes = Wishes.read(os.environ)
        with stage(wishes) as place:
            tell(place)
            if wishes.keep:
                put(_next_steps(place))
        say(f"done in {time.time() - began:.0f} s")
        return 0
    except (ClusterError, TookTooLong, AssertionError) as error:
        return _fail(str(error), began)
    except Stop as stop:
        return _fail(stop.message, began)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except Exception:
        return _fail(traceback.format_exc(), began)


def _fail(why: str, began: float) -> int:
    """Say why, and where the logs are; those of an earlier run are none of its."""
    say(f"the demo failed: {why}")
    if LOGS.is_dir() and any(one.stat().st_mtime >= began for one in LOGS.iterdir()):
        say(f"what Serin and the cluster said is in {LOGS}")
    return 1


def _next_steps(place: Stage) -> str:
    kubectl = f"kubectl -n {NAMESPACE}"
    lines = [
        "",
        "Everything is kept. To look around:",
        "",
        *([f"  export KUBECONFIG={FOLDER / 'kubeconfig'}"] if place.own else []),
        f"  export PATH={recipes.ROOT / '.venv' / 'bin'}:$PATH",
        f"  serin history fraud -n {NAMESPACE}     # every version, and why it was rejected",
        f"  serin explain fraud -n {NAMESPACE}     # why version 5 is not tried again",
        f"  {kubectl} describe md fraud      # the story as Events",
        "",
        "To try a version yourself, let a client send requests (ten minutes, then it ends by itself):",
        "",
        "  python -m tests.e2e.demo.client &",
        f"  {kubectl} apply -f manifests/samples/demo/version-4.yaml",
        f"  serin retry fraud -n {NAMESPACE}       # it was rejected: only you can have it tried again",
        f"  serin status fraud -n {NAMESPACE} --watch",
        "",
        "To remove it all:",
        "",
        *(f"  {one}" for one in place.removal),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
