"""How long a message may be: what users and Prometheus say is quoted, and neither may fill the status or the log."""

from typing import Final

LONGEST: Final = 500


def shorten(text: str, longest: int = LONGEST) -> str:
    """Cut a text to `longest` characters, the last of which then says that there was more."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
