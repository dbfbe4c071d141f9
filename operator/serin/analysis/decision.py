"""When evidence is a verdict: which candidates are allowed, and how much evidence each verdict takes.

Shared by all that compare evidence with a threshold. What users can set is in `Policy`; the numbers here cannot be set.
"""

import math
from collections.abc import Callable
from typing import Final

from serin.analysis import text
from serin.analysis.types import Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict

# Times stable's odds of a bad request: FailMinor is proof of more than the first, FailCritical of more than the second.
# 1: every increase counts. 2: a doubling, which is what `minimum_detectable_effect` is by default.
TOLERANCE: Final = 1.0
CRITICAL_RATIO: Final = 2.0
# How often a candidate may pass that is `minimum_detectable_effect` times worse: the usual type II error of a test with
# 80% power (Cohen 1988). It is still watched afterwards.
ALPHA_PASS: Final = 0.20
PASS_THRESHOLD: Final = -math.log(ALPHA_PASS)  # log evidence that a Pass takes
# Nats above PASS_THRESHOLD that the evidence for a Pass can grow to, so that a Pass is soon taken back.
CAP: Final = 3.0
# A Pass need not tell a share of bad requests under `minimum_detectable_effect` times this from none at all: a multiple
# of nothing cannot be bounded. With the default effect, 214 requests without a bad one are a Pass.
FLOOR: Final = 0.005

# Verdict, reason, message, and candidate requests still needed (None: unknown).
Conclusion = tuple[Verdict, Reason, str, int | None]


def failure(policy: Policy, before: str, critical: float, minor: float) -> str:
    """The worse of what was proven before and what is proven now, as a verdict's name; "" for nothing.

    `critical`, `minor`: log evidence against the two nulls. Only critical metrics fail critically.
    """
    if before == Verdict.FAIL_CRITICAL:
        return before
    if policy.severity is Severity.CRITICAL and critical >= -math.log(policy.alpha_critical):
        return Verdict.FAIL_CRITICAL.value
    return Verdict.FAIL_MINOR.value if minor >= -math.log(policy.alpha_minor) else before


def conclude(
    received: bool, failed: str, reason: Reason, needed: Callable[[], int | None], sentence: str, cleared: str = ""
) -> Conclusion:
    """Conclude from the state of the evidence.

    `received`: the candidate has had requests. `failed`: the failing verdict that was proven, or nothing; `reason`: its
    reason. `needed`: candidate requests until a Pass, 0 for now; asked only when nothing has failed. `sentence` has the
    numbers, `cleared` says what a Pass has ruled out.
    """
    if not received:
        return Verdict.NO_DATA, Reason.NO_TRAFFIC, "the candidate has received no requests yet", None
    if failed:
        return Verdict(failed), reason, sentence, 0
    more = needed()
    if more == 0:
        return Verdict.PASS, Reason.NOT_WORSE, f"{sentence}: {cleared}" if cleared else sentence, 0
    return Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE, f"{sentence}: {text.more(more)}", more
