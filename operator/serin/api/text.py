"""Numbers as people read them and texts as long as they may be, for every layer that writes sentences."""

import hashlib
from typing import Final

_ELLIPSIS: Final = "…"
_LONGEST_KEPT: Final = 256
# Unicode's category Cc without tab and line feed.
_CONTROLS: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


def count(number: float) -> str:
    """A whole number with thousands separated: 7,210."""
    return f"{round(number):,}"


def shortened(text: str, longest: int) -> str:
    """The text, ending in … when it has more than `longest` characters."""
    return text if len(text) <= longest else text[: longest - 1] + _ELLIPSIS


def printable(text: str) -> str:
    """The text without control characters, which a terminal takes for commands; tabs and line ends stay."""
    return text.translate(_CONTROLS)


def cut_to_bytes(text: str, length: int) -> str:
    """The text, ending in … when its UTF-8 has more than `length` bytes."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= length:
        return text
    return encoded[: length - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS


def known_again(value: str) -> str:
    """What the status keeps of an annotation's value, to know it again: one may have 256 KiB."""
    return value if len(value) <= _LONGEST_KEPT else f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
