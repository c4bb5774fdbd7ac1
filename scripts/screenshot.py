"""Save a picture of a run's report page.

    python scripts/screenshot.py RUN docs/images/report-digits.png
    python scripts/screenshot.py RUN report.png --width 390 --dark --whole

Chromium must be installed. The picture has 256 colours, so that the file is small.
"""

import argparse
import io
from pathlib import Path

from browser import browser
from PIL import Image

from morex.report.page import write_report


def main() -> None:
    """Write the report page, open it, and save a picture of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("target", type=Path, metavar="PNG", help="the file to write")
    parser.add_argument("--width", type=int, default=1280, help="width of the window")
    parser.add_argument(
        "--height", type=int, default=1800, help="how many pixels of the page to show"
    )
    parser.add_argument("--dark", action="store_true", help="use the dark colours")
    parser.add_argument("--whole", action="store_true", help="show the whole page")
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
