"""Pictures of a run's report page, for documents and for looking at it.

    python scripts/screenshot.py RUN docs/images/report-digits.png
    python scripts/screenshot.py RUN report.png --width 390 --dark --whole

Needs an installed Chromium. The picture has 256 colours, to be small.
"""

import argparse
import io
from pathlib import Path

from browser import browser
from PIL import Image

from morex.report.page import write_report


def main() -> None:
    """Write the report, open it, and save what is seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1800, help="how much of the page is shown")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the page down to its end")
    options = parser.parse_args()
    page = write_report(options.run).resolve()
    with browser() as tab:
        tab.open(page.as_uri(), width=options.width, dark=options.dark)
        picture = tab.screenshot(
            whole=options.whole, height=None if options.whole else options.height
        )
    options.target.parent.mkdir(parents=True, exist_ok=True)
    save(picture, options.target)
    print(f"{options.target}: {options.target.stat().st_size / 1000:.0f} kB")


def save(picture: bytes, target: Path) -> None:
    """Write a PNG with a palette that keeps rare colours, such as those of markers."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    palette = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette.save(target, optimize=True)


if __name__ == "__main__":
    main()
