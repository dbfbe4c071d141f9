"""Numbers as people read them and texts as long as they may be, for every layer that writes sentences."""

from typing import Final

_ELLIPSIS: Final = "…"


def count(number: float) -> str:
    """A whole number with thousands separated: 7,210."""
    return f"{round(number):,}"


def cut_to_bytes(text: str, length: int) -> str:
    """The text, ending in … when its UTF-8 has more than `length` bytes."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= length:
        return text
    return encoded[: length - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS
