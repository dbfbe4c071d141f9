"""How a serving container ends: the router hears of it first, and the template's own wishes for that stay.

A pod that is deleted gets requests until every router has heard of it. So its server is told to stop a few seconds
later, by a `preStop` of Serin's. That time comes on top of the template's grace period, which means what it means in a
Deployment: how long the server has to finish after it was told.

A container has one `preStop`. A sleep of the template's is the same wait; a script is run by its own shell after the
wait. Anything else (a program without a shell, a request) cannot be put behind a wait, so it stays alone, and it is up
to it to last as long: `serin lint` says so.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from serin.api.json import JsonObject

# Seconds between "no new requests, please" and SIGTERM: the router must have heard of it by then.
DRAIN_SECONDS: Final = 5
# Of Kubernetes, when a pod says nothing else.
_DEFAULT_GRACE_SECONDS: Final = 30
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash", "ksh", "zsh"})


def lifecycle(given: JsonObject | None) -> JsonObject:
    """A serving container's lifecycle with the drain in it; `given` is the template's own."""
    own = given or {}
    return {**own, "preStop": _pre_stop(own.get("preStop") or {})}


def grace_period(given: object) -> object:
    """`terminationGracePeriodSeconds` with the drain before it; `given` is the template's own, None for the default.

    What is no number of seconds is left to the API server to refuse.
    """
    seconds = _DEFAULT_GRACE_SECONDS if given is None else given
    whole = isinstance(seconds, int) and not isinstance(seconds, bool) and seconds >= 0
    return seconds + DRAIN_SECONDS if whole else given  # type: ignore[operator]


def can_drain(given: JsonObject | None) -> bool:
    """Whether the drain can be put before the `preStop` of this lifecycle."""
    hook = (given or {}).get("preStop") or {}
    return not hook or "sleep" in hook or _sleeps(_command(hook)) is not None or _has_shell(_command(hook))


def _pre_stop(hook: JsonObject) -> JsonObject:
    if not can_drain({"preStop": hook}):
        return hook
    command = _command(hook)
    if _has_shell(command):
        wait = f'sleep {DRAIN_SECONDS}; exec "$@"'
        return {"exec": {"command": [command[0], "-c", wait, command[0], *command]}}
    asked = hook["sleep"].get("seconds") if "sleep" in hook else _sleeps(command)
    if isinstance(asked, int | float) and asked >= DRAIN_SECONDS:
        return hook
    return {"sleep": {"seconds": DRAIN_SECONDS}}


def _command(hook: JsonObject) -> Sequence[Any]:
    found = (hook.get("exec") or {}).get("command")
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []


def _has_shell(command: Sequence[Any]) -> bool:
    """Whether it is a script that the image has a shell for, so the same shell can wait before it."""
    return len(command) > 1 and PurePosixPath(command[0]).name in _SHELLS


def _sleeps(command: Sequence[Any]) -> float | None:
    """Seconds of a `sleep N`; None when the command is another one."""
    if len(command) != 2 or PurePosixPath(command[0]).name != "sleep":
        return None
    try:
        return float(str(command[1]).removesuffix("s"))
    except ValueError:
        return None
