"""The key by which the guard knows what the operator says.

Kubernetes mounts it as a file, and exchanges that while the process runs, so it is read again all the time. What cannot
be read leaves the last one.
"""

import asyncio
from pathlib import Path
from typing import Final

import structlog

from serin.api.guard_keys import checked

log: Final = structlog.get_logger("serin.guard")

_EVERY_SECONDS: Final = 5.0


class NoKey(Exception):
    """There is none at the beginning; the message says why."""


class Keys:
    """`key`: what the file has. Raises NoKey when that is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.key = _read(path)
        except (OSError, ValueError) as error:
            raise NoKey(f"{path} has no key: {error}") from None

    async def run(self) -> None:
        """Read it again and again, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            self.look()

    def look(self) -> None:
        """Take another key when the file has one."""
        try:
            found = _read(self._path)
        except (OSError, ValueError) as error:
            log.warning("guard.key-unreadable", error=str(error))
            return
        if found != self.key:
            log.info("guard.key-changed")
            self.key = found


def _read(path: Path) -> bytes:
    return checked(path.read_bytes())
