"""What a comparison with stable comes to, the same for shares and for latencies."""

from collections.abc import Callable

from serin.analysis import text
from serin.analysis.types import NoDataReason
from serin.api.verdicts import Verdict

# Verdict, reason, message, and candidate requests still needed (None: unknown).
Conclusion = tuple[Verdict, str, str, int | None]


def conclude(received: bool, failed: str, needed: Callable[[], int | None], sentence: str, cleared: str) -> Conclusion:
    """Conclude from the state of the evidence.

    `received`: the candidate has had requests. `failed`: the failing verdict that was proven, or nothing. `needed`:
    candidate requests until a Pass, 0 for now; asked only when nothing has failed. `sentence` has the numbers,
    `cleared` says what a Pass has ruled out.
    """
    if not received:
        return Verdict.NO_DATA, NoDataReason.NO_TRAFFIC.value, "the candidate has received no requests yet", None
    if failed:
        return Verdict(failed), "WorseThanStable", sentence, 0
    more = needed()
    if more == 0:
        return Verdict.PASS, "NotWorse", f"{sentence}: {cleared}", 0
    return Verdict.INCONCLUSIVE, "GatheringEvidence", f"{sentence}: {text.more(more)}", more
