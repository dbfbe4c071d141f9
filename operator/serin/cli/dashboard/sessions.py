"""Who is signed in to the page in the cluster: tokens of users, in memory and nowhere else, for a bounded time.

The browser holds a random key that says nothing. A user has a few sessions, of which the newest stay, and all users
together a bounded number; a restart signs everybody out.
"""

import base64
import binascii
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Final
from weakref import WeakValueDictionary

from serin.cli.connection import Connection
from serin.cli.dashboard.visitor import Turns, Visitor

# Seconds: of a session at most, and without any request.
LONGEST: Final = 12 * 3600.0
IDLE: Final = 3600.0
MOST: Final = 1000
MOST_OF_ONE: Final = 5

_Clock = Callable[[], float]


@dataclass(slots=True)
class _Session:
    visitor: Visitor
    until: float
    used: float


class Sessions:
    """Sessions by their keys, the one that was used last at the end. `clock`: seconds, monotonic."""

    def __init__(self, clock: _Clock = time.monotonic, most: int = MOST) -> None:
        self._clock, self._most = clock, most
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._turns: WeakValueDictionary[str, Turns] = WeakValueDictionary()

    def open(self, name: str, connection: Connection, seconds: float) -> str:
        """Let a user in for so many seconds at most; returns the new session's key.

        Nobody can keep others out: where there are too many, the one that was not used for longest ends. An open page
        uses its session every few seconds.
        """
        self._sweep()
        mine = [key for key, one in self._sessions.items() if one.visitor.name == name]
        for key in mine[: len(mine) - MOST_OF_ONE + 1] if len(mine) >= MOST_OF_ONE else ():
            del self._sessions[key]
        while len(self._sessions) >= self._most:
            self._sessions.popitem(last=False)
        turns = self._turns.get(name)
        if turns is None:
            turns = self._turns[name] = Turns()
        now, key = self._clock(), token_urlsafe(32)
        self._sessions[key] = _Session(Visitor(connection, turns, name), now + min(seconds, LONGEST), now)
        return key

    def find(self, key: str) -> Visitor | None:
        """Whose session it is, None when there is none of that key any more."""
        session, now = self._sessions.get(key), self._clock()
        if session is None or _is_over(session, now):
            self._sessions.pop(key, None)
            return None
        session.used = now
        self._sessions.move_to_end(key)
        return session.visitor

    def close(self, key: str) -> None:
        """Forget a session and its token."""
        self._sessions.pop(key, None)

    def _sweep(self) -> None:
        now = self._clock()
        for key in [key for key, one in self._sessions.items() if _is_over(one, now)]:
            del self._sessions[key]

    def __len__(self) -> int:
        return len(self._sessions)


def _is_over(session: _Session, now: float) -> bool:
    return now >= session.until or now >= session.used + IDLE


def seconds_left(token: str, now: float) -> float:
    """Until a JWT's own end, by its claim `exp`; without one, as long as a session may be. `now`: unix seconds.

    The claim is not verified: it only makes a session shorter. The API server judges the token at every request.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return LONGEST
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return max(0.0, min(float(claims["exp"]) - now, LONGEST))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, binascii.Error):
        return LONGEST
