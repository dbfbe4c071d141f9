"""Golden files: texts that a reviewer reads. SERIN_WRITE_GOLDEN=1 writes them anew."""

import os
from pathlib import Path


def compare(path: Path, text: str) -> None:
    """Fail unless the file has this text."""
    if os.environ.get("SERIN_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()
