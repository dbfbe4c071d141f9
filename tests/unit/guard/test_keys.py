"""The guard's key: read from its file, and again when that changes."""

from pathlib import Path

import pytest

from serin.api.guard_keys import BYTES
from serin.guard.keys import Keys, NoKey


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_guard_without_a_key_does_not_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NoKey, match=f"{file} has no key"):
        Keys(file)


def test_another_key_is_taken_and_what_is_none_leaves_the_last(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"a" * BYTES)
    keys = Keys(file)
    file.write_bytes(b"b" * BYTES)
    keys.look()
    assert keys.key == b"b" * BYTES
    file.write_bytes(b"")
    keys.look()
    file.unlink()
    keys.look()
    assert keys.key == b"b" * BYTES
