"""The key that operator and guard share, and how settings are signed with it.

What the guard does for a deployment is said by settings that come with every exchange (guard.py). Whoever merely
reaches its port must not be able to say it: the operator signs settings, and the guard looks at no others. The key is
in a Secret of Serin's own namespace; the router carries signatures and never has the key.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from enum import StrEnum
from typing import Final

SECRET: Final = "serin-guard"
DATA: Final = "key"  # of the Secret, and the name of the file that it is mounted as
BYTES: Final = 32
# How settings are laid out. To be raised when a guard that knows this one would misread what is new; it then takes
# them for none, and what it is shown passes unchecked. A new field needs no new version (guard.py, `read_line`).
VERSION: Final = "1"


class Purpose(StrEnum):
    """What a signature is for. One that is for one thing proves nothing of another."""

    SETTINGS = "settings"  # the operator's, of a deployment
    VERDICT = "verdict"  # the operator's, to the router, of what a person says of an answer


def new_key() -> str:
    """As the Secret has it."""
    return base64.b64encode(secrets.token_bytes(BYTES)).decode()


def read_key(text: str) -> bytes:
    """Of the Secret. Raises ValueError for what is none."""
    try:
        return checked(base64.b64decode(text, validate=True))
    except binascii.Error:
        raise ValueError("it is no base64") from None


def checked(key: bytes) -> bytes:
    """The same. Raises ValueError when it is too short to be one."""
    if len(key) < BYTES:
        raise ValueError(f"it has {len(key)} bytes, and a key has {BYTES}")
    return key


def signature(key: bytes, purpose: Purpose, text: bytes) -> str:
    """HMAC-SHA256 in hexadecimal digits."""
    return hmac.new(key, f"serin {purpose}\n".encode() + text, hashlib.sha256).hexdigest()


def is_signed(key: bytes, purpose: Purpose, text: bytes, signed: bytes) -> bool:
    """Whether `signed` is the signature of this text. Takes as long whatever is wrong with it."""
    return hmac.compare_digest(signature(key, purpose, text).encode(), signed)


def sign_settings(key: bytes, settings: str) -> str:
    """Settings as they travel: version, signature, and what a `write_...` function has written."""
    text = f"{VERSION} {settings}"
    return f"{VERSION} {signature(key, Purpose.SETTINGS, text.encode())} {settings}"


def read_signed(key: bytes, sent: bytes) -> str:
    """The settings that have come so. Raises ValueError for any that the operator has not signed with this key."""
    version, _, rest = sent.partition(b" ")
    signed, _, settings = rest.partition(b" ")
    if version != VERSION.encode():
        raise ValueError(f"these settings are none of version {VERSION}")
    if not is_signed(key, Purpose.SETTINGS, version + b" " + settings, signed):
        raise ValueError("these settings are not signed with the key that this guard has")
    return settings.decode("ascii")
