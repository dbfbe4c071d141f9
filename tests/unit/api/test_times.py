"""Moments as text, also those that nobody means."""

import pytest

from serin.api.times import moment, rfc3339, rfc3339_whole


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
        (-62_135_596_800.0 - 14 * 3600, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799.0 + 14 * 3600, "9999-12-31T23:59:59.000Z"),
        (1e300, "9999-12-31T23:59:59.000Z"),
        (-1e300, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_every_number_is_some_moment(seconds: float, text: str) -> None:
    assert rfc3339(seconds) == text
    assert rfc3339_whole(seconds) == f"{text[:19]}Z"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_what_is_read_can_be_written(text: str) -> None:
    """The API server takes such a moment, and its offset leads out of the years that can be written."""
    read = moment(text)
    assert read is not None
    assert moment(rfc3339(read)) is not None
