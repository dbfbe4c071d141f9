"""Makes of a test's screenshots the pictures of the docs: few colours, and small. `make screenshots` runs it."""

import sys
from pathlib import Path

from PIL import Image  # type: ignore[import-not-found]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 120_000
# Screenshots of test_dashboard.py, and the names that docs/dashboard.md has for them.
WANTED = {"baking": "dashboard-rollout", "several-arms": "dashboard-arms", "rejected-phone": "dashboard-phone"}
_TALLEST = 1400


def main(folder: Path) -> None:
    """Write the pictures. Raises SystemExit when one is larger than the docs should have."""
    DOCS.mkdir(exist_ok=True)
    for taken, name in WANTED.items():
        image = Image.open(folder / f"{taken}.png").convert("RGB")
        image = image.crop((0, 0, image.width, min(image.height, _TALLEST)))
        file = DOCS / f"{name}.png"
        image.quantize(colors=128, dither=Image.Dither.NONE).save(file, optimize=True)
        size = file.stat().st_size
        print(f"{file.name}: {image.width} x {image.height}, {size} bytes")
        if size > MOST_BYTES:
            sys.exit(f"{file} is too large: {size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
