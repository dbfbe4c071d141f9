"""How long a message may be: what users and Prometheus say is quoted, and neither may fill the status or the log."""

import hashlib
from typing import Final

from serin.api.text import shortened

LONGEST: Final = 500
_DIGEST: Final = 6


def shorten(text: str, longest: int = LONGEST) -> str:
    """Cut a text to `longest` characters, the last of which then says that there was more."""
    return shortened(text, longest)


def name_of(value: str, longest: int) -> str:
    """A label's value as evidence and messages name it: itself, where it is printable and not longer than `longest`.

    Of any other, its printable beginning with a digest that tells it from others that begin alike. A client may have
    written it: no terminal takes it for a command, and it fills no status.
    """
    clean = "".join(one for one in value if one.isprintable())
    if clean == value and len(value) <= longest:
        return value
    digest = hashlib.sha256(value.encode(errors="replace")).hexdigest()[:_DIGEST]
    return f"{clean[: longest - _DIGEST - 1]}~{digest}"
