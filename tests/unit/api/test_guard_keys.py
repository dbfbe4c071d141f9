"""What is signed with the key of operator and guard, and what is not taken for it."""

import base64

import pytest

from serin.api.guard_keys import Purpose, is_signed, new_key, read_key, read_signed, sign_settings, signature

KEY, OTHER = b"k" * 32, b"o" * 32
SETTINGS = '{"checks":[],"protocol":"JSON"}'


def test_what_is_signed_is_read() -> None:
    assert read_signed(KEY, sign_settings(KEY, SETTINGS).encode()) == SETTINGS


def test_whatever_is_changed_of_it_is_none() -> None:
    sent = sign_settings(KEY, SETTINGS).encode()
    for place in range(len(sent)):
        with pytest.raises(ValueError, match="settings are"):
            read_signed(KEY, sent[:place] + bytes([sent[place] ^ 1]) + sent[place + 1 :])


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        SETTINGS.encode(),
        sign_settings(OTHER, SETTINGS).encode(),
        b"2" + sign_settings(KEY, SETTINGS).encode()[1:],
        b"1  " + SETTINGS.encode(),
        "1 \u00e9".encode() + SETTINGS.encode(),
        # Signed, and for something else.
        f"1 {signature(KEY, Purpose.SETTINGS, SETTINGS.encode())} {SETTINGS}".encode(),
    ],
)
def test_what_the_operator_has_not_signed_is_none(sent: bytes) -> None:
    with pytest.raises(ValueError, match="settings are"):
        read_signed(KEY, sent)


def test_a_signature_is_of_one_key_and_one_text() -> None:
    signed = signature(KEY, Purpose.SETTINGS, b"a").encode()
    assert is_signed(KEY, Purpose.SETTINGS, b"a", signed)
    assert not is_signed(OTHER, Purpose.SETTINGS, b"a", signed)
    assert not is_signed(KEY, Purpose.SETTINGS, b"b", signed)
    assert not is_signed(KEY, Purpose.SETTINGS, b"a", signed[:-1])


def test_each_key_is_another_one_and_is_read_as_it_was_made() -> None:
    made = [new_key() for _ in range(3)]
    assert len({read_key(one) for one in made}) == 3
    assert all(len(read_key(one)) == 32 for one in made)


@pytest.mark.parametrize(
    ("text", "why"), [("not base64!", "no base64"), (base64.b64encode(b"short").decode(), "it has 5 bytes")]
)
def test_what_is_no_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_key(text)
