"""Under which names the page in the cluster is reached: any other that was pointed at it gets no answer."""

import re
from collections.abc import Sequence
from typing import Final

# What a port-forward is reached by, whatever port it has chosen.
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(:(?P<port>[0-9]{1,5}))?")


class Hosts:
    """`names`: of hosts; one with a port (page.example:8443) is meant with this port alone.

    Raises ValueError with what to write for one that is none.
    """

    def __init__(self, names: Sequence[str]) -> None:
        for one in names:
            if not _HOST.fullmatch(one):
                raise ValueError(f"{one!r} is no name of a host: write for example serin.example, without https://")
        self._known = frozenset((*LOOPBACK, *names))

    @property
    def names(self) -> Sequence[str]:
        """Without ports, sorted: what a certificate is made for."""
        found = (_HOST.fullmatch(one) for one in self._known)
        return sorted({one["name"] for one in found if one})

    def has(self, host: str) -> bool:
        """Whether a Host header, in lower case, names the page."""
        found = _HOST.fullmatch(host)
        return found is not None and (host in self._known or found["name"] in self._known)
