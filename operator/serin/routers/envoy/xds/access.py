"""Who may ask the xDS server: what the server has to know about it, and nothing of how it is found out."""

from typing import Final, Protocol


class Denied(Exception):
    """This caller gets nothing; the message says why."""


class Access(Protocol):
    """Decides from what a request shows: where it comes from, and its bearer token ("" without one).

    It must not wait for anything: known callers are never held up.
    """

    def router(self, address: str, token: str) -> str | None:
        """Name of the router's pod that asks; None when anybody may, in any name. Raises Denied."""

    def replica(self, address: str, token: str) -> None:
        """Let another replica of the operator ask. Raises Denied."""

    def knows(self, address: str) -> bool:
        """Whether this is the address of a pod that may ask."""


class _Anybody:
    def router(self, _address: str, _token: str) -> str | None:
        return None

    def replica(self, _address: str, _token: str) -> None:
        pass

    def knows(self, _address: str) -> bool:
        return True


# For an xDS server that nobody else can reach.
ANYBODY: Final[Access] = _Anybody()
